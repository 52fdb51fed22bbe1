"""What a reviewer sees of two bundles' differences."""

from coordinator.jobs.dossier import CodeFile, Dossier, compare
from protos.job_manifest import parse_manifest
from tests.fakes.vendor import EVALUATION

MANIFEST = parse_manifest(EVALUATION)


def holding(**files):
    made = tuple(
        CodeFile(name.replace("_", "."), len(text or ""), text) for name, text in files.items()
    )
    return Dossier(MANIFEST, made)


def test_each_changed_line_is_there_and_no_other():
    found = compare(holding(job_py="a = 1\nb = 2\n"), holding(job_py="a = 1\nb = 3\n"))

    assert "-b = 2" in found.lines
    assert "+b = 3" in found.lines
    assert (found.more, found.other) == (False, ())


def test_a_new_file_and_one_that_went_are_whole():
    found = compare(holding(old_py="x\n"), holding(new_py="y\n"))

    assert {"-x", "+y", "--- before/new.py", "+++ now/old.py"} <= set(found.lines)


def test_what_is_no_text_is_named():
    found = compare(holding(job_py="a\n", w_bin=None), holding(job_py="a\n", w_bin="now text"))

    assert found.lines == ()
    assert found.other == ("w.bin",)


def test_a_long_diff_says_that_it_is_cut():
    found = compare(holding(), holding(job_py="x\n" * 5000))

    assert len(found.lines) == 3000
    assert found.more
