"""A small federation in bad weather; `python -m tests.chaos fleet` has fifty for twenty minutes."""

import pytest

from tests.chaos.fleet import fleet

pytestmark = [pytest.mark.attack, pytest.mark.flow]

LONG = frozenset({"certificates run out"})  # which takes as long as a certificate lives


def test_work_ends_right_or_says_why_whatever_happens(tmp_path):
    seen = fleet(tmp_path, hospitals=5, minutes=0.5, seed=6, without=LONG)
    assert seen["questions"] > 5
    assert sum(seen["mishaps"].values()) >= 2
