"""A list of files is true only while the files are there."""

from pathlib import Path
from types import SimpleNamespace

from tests.order import LONGEST, longest_first

TESTS = Path(__file__).resolve().parents[1]


def test_every_file_that_begins_first_is_there_and_named_once():
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_the_longest_begin_and_the_rest_keep_their_order():
    last, first = TESTS / LONGEST[-1], TESTS / LONGEST[0]
    found = [TESTS / "unit" / "b.py", last, TESTS / "unit" / "a.py", first]

    ordered = longest_first([SimpleNamespace(path=path) for path in found])

    assert [test.path for test in ordered] == [first, last, found[0], found[2]]
