import pytest

from coordinator.training.secure_sum import Patience, SumBroken, agreed, chosen, due
from protos.sums import ROSTER_AT_MOST, SumContext, threshold

NAMES = [f"h{number}" for number in range(10)]


def test_a_step_waits_for_all_or_for_its_time_and_never_for_nobody():
    assert not due(["a"], ["a", "b"], now=1, until=2)
    assert due(["a", "b"], ["a", "b"], now=1, until=2)
    assert due(["a"], ["a", "b"], now=2, until=2)
    assert not due([], ["a", "b"], now=2, until=2)


def test_a_sums_time_is_the_end_of_its_rounds():
    long, short = Patience.of(100_000, 86_400), Patience.of(100_000, 400)

    assert (long.keys_until, long.shares_until, long.step_seconds) == (99_100, 99_550, 450)
    assert (short.keys_until, short.shares_until, short.step_seconds) == (99_900, 99_950, 50)


def steps(**taken):
    return {site: {"consent"} for site in taken.get("consent", ())} | {
        site: {"refusal"} for site in taken.get("refusal", ())
    }


def test_enough_signatures_wait_for_the_others_and_no_longer_than_their_time():
    seven = steps(consent=NAMES[:7])
    assert threshold(10) == 7

    assert agreed(seven, 10, NAMES, now=1, until=2) is None
    assert agreed(seven, 10, NAMES, now=2, until=2) == NAMES[:7]
    others_refused = seven | steps(refusal=NAMES[7:])
    assert agreed(others_refused, 10, NAMES, now=1, until=2) == NAMES[:7]


def test_a_sum_that_cannot_open_any_more_is_broken_at_once():
    with pytest.raises(SumBroken, match="6 of 7 needed hospitals are in the sum"):
        agreed({}, 10, NAMES[:6], now=1, until=2)
    with pytest.raises(SumBroken, match="0 of 7"):
        agreed(steps(refusal=NAMES[:4]), 10, NAMES, now=1, until=2)
    with pytest.raises(SumBroken, match="6 of 7"):
        agreed(steps(consent=NAMES[:6]), 10, NAMES, now=2, until=2)


def test_of_more_hospitals_than_a_roster_has_each_comes_in_some_round():
    many = {f"h{number}" for number in range(ROSTER_AT_MOST + 50)}
    rounds = [chosen(many, SumContext("job", n, b"b", b"w")) for n in range(1, 21)]

    assert all(len(one) == ROSTER_AT_MOST for one in rounds)
    assert set().union(*rounds) == many
    assert chosen(NAMES, SumContext("job", 1, b"b", b"w")) == set(NAMES)
