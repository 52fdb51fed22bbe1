import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import Pooled
from coordinator.training.rules import (
    Aggregate,
    GiveUp,
    Recruiting,
    Round,
    Start,
    chosen_round,
    has_lost_patience,
)
from protos.training import TrainingPlan

SITES = ("alpha", "beta", "gamma")
THREE = frozenset(SITES)


def test_a_job_starts_once_all_have_spoken():
    recruiting = Recruiting(THREE, quorum=2)

    for site, approved in (("alpha", True), ("beta", False)):
        recruiting = recruiting.decided(site, approved=approved)
        assert recruiting.effects(patience_over=False) == []
    recruiting = recruiting.decided("gamma", approved=True)

    assert recruiting.effects(patience_over=False) == [Start(frozenset({"alpha", "gamma"}))]


def test_patience_ends_with_a_start_or_with_a_reason():
    recruiting = Recruiting(THREE, quorum=2).decided("alpha", approved=True)

    (effect,) = recruiting.effects(patience_over=True)
    enough = recruiting.decided("beta", approved=True).effects(patience_over=True)

    assert effect == GiveUp("1 of 2 needed hospitals approved")
    assert enough == [Start(frozenset({"alpha", "beta"}))]


def test_a_hospital_may_change_its_mind_and_a_stranger_has_none():
    recruiting = Recruiting(frozenset({"alpha"}), quorum=1).decided("alpha", approved=True)

    recruiting = recruiting.decided("alpha", approved=False).decided("mallory", approved=True)

    assert recruiting.effects(patience_over=False) == [GiveUp("0 of 1 needed hospitals approved")]


def test_a_round_aggregates_when_nobody_is_awaited():
    round_ = Round(THREE, quorum=2)

    round_, early = round_.update_arrived("alpha")
    round_, later = round_.site_dropped("beta")
    round_, last = round_.update_arrived("gamma")

    assert (early, later) == ([], [])
    assert last == [Aggregate(frozenset({"alpha", "gamma"}))]
    assert round_.closed


@pytest.mark.parametrize(
    ("arrived", "effect"),
    [
        (("alpha", "beta"), Aggregate(frozenset({"alpha", "beta"}))),
        (("alpha",), GiveUp("1 of 2 needed updates arrived")),
        ((), GiveUp("0 of 2 needed updates arrived")),
    ],
)
def test_a_deadline_ends_a_round_with_what_has_arrived(arrived, effect):
    round_ = Round(THREE, quorum=2)
    for site in arrived:
        round_, _ = round_.update_arrived(site)

    assert round_.deadline_passed()[1] == [effect]


Event = st.tuples(
    st.sampled_from(("arrived", "dropped", "deadline")), st.sampled_from((*SITES, "x"))
)


@given(st.lists(Event, max_size=30), st.integers(1, 3))
def test_a_round_ends_once_and_counts_nobody_twice(events, quorum):
    round_, effects = Round(THREE, quorum), []

    for kind, site in events:
        tell = {"arrived": round_.update_arrived, "dropped": round_.site_dropped}.get(kind)
        round_, told = tell(site) if tell else round_.deadline_passed()
        effects += told

    assert len(effects) == int(round_.closed) <= 1
    assert round_.arrived | round_.dropped <= THREE
    assert not round_.arrived & round_.dropped
    for effect in effects:
        assert isinstance(effect, Aggregate) == (len(round_.arrived) >= quorum)


def test_a_round_that_has_enough_waits_for_nobody():
    round_ = Round(THREE, quorum=2, enough=2, arrived=frozenset({"alpha", "gamma"}))

    over, effects = round_.settled()

    assert effects == [Aggregate(frozenset({"alpha", "gamma"}))]
    assert over.update_arrived("beta") == (over, [])
    assert Round(THREE, quorum=2, arrived=frozenset({"alpha", "gamma"})).settled()[1] == []


def figures(*areas):
    return [Pooled(number, area, None, None) for number, area in enumerate(areas, 1)]


@pytest.mark.parametrize(
    ("areas", "over"),
    [
        ((0.5, 0.8, 0.79), False),
        ((0.5, 0.8, 0.79, 0.8), True),  # as good is no gain
        ((0.5, 0.8, None, 0.79), False),  # what was not measured costs no patience
        ((0.5, 0.8, 0.79, 0.81), False),
        ((0.9, 0.8, 0.8), True),  # no training was a gain
        ((), False),
    ],
)
def test_a_job_ends_when_no_round_was_a_gain(areas, over):
    assert has_lost_patience(TrainingPlan(patience=2, keep="best"), figures(*areas)) is over
    assert not has_lost_patience(TrainingPlan(), figures(*areas))


@pytest.mark.parametrize(
    ("areas", "chosen"),
    [
        ((0.5, 0.8, 0.79), 2),
        ((0.5, 0.8, 0.81, 0.81, 0.7), 3),
        ((0.9, 0.8, 0.7), 2),
        ((None,) * 3, 9),
    ],
)
def test_the_result_is_the_best_trained_model_where_a_job_says_so(areas, chosen):
    best, newest = TrainingPlan(keep="best"), 9

    assert chosen_round(best, figures(*areas), newest) == chosen
    assert chosen_round(TrainingPlan(), figures(*areas), newest) == newest
