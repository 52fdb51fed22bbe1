from random import Random

import pytest

from gateway.link.rules import delay, skew_fault, version_fault


def test_back_off_doubles_is_capped_and_never_in_step():
    draw = Random(1).uniform

    waits = [[delay(failures, 60.0, draw) for failures in range(1, 20)] for _ in range(50)]

    assert all(0.25 <= row[0] <= 0.5 for row in waits)
    assert all(30.0 <= row[-1] <= 60.0 for row in waits)
    assert len({row[3] for row in waits}) == 50


@pytest.mark.parametrize(("skew", "word"), [(600, "behind"), (-600, "ahead")])
def test_a_wrong_clock_is_named_with_its_direction(skew, word):
    assert word in skew_fault(skew, 120)


def test_clocks_that_agree_are_no_fault():
    assert skew_fault(119, 120) is None


def test_an_unspoken_version_is_named():
    assert version_fault(1, (1,)) is None
    assert "upgrade" in version_fault(2, (1,))
