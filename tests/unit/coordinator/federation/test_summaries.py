from random import Random
from statistics import mean as true_mean
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import InvalidRequest
from coordinator.federation.rules import (
    QUORUM_REACHED,
    Asking,
    absent,
    check_question,
    check_summary,
    combined,
)
from coordinator.federation.summary import SHARES, Bar, quantile, summaries
from coordinator.federation.summary import mean as mean_of
from protos.v1.question_pb2 import Answer, AnswerState, Cell, Predicate, Question, Tier
from protos.vocabulary import FIELDS

VALUE, HIDDEN = AnswerState.ANSWER_STATE_VALUE, AnswerState.ANSWER_STATE_BELOW_THRESHOLD
AGE = FIELDS["PatientAge"]


def a_histogram(ages, sigma=10.0, draw=None, least=10):
    """Return one hospital's answer: its ages by decade, with noise and small bins hidden."""
    cells = []
    for place, label in enumerate(AGE.bins):
        count = sum(place == min(age // 10, 8) for age in ages)
        count += round(draw.gauss(0, sigma)) if draw else 0
        shown = {"count": count, "state": VALUE} if count >= least else {"state": HIDDEN}
        cells.append(Cell(values=[label], **shown))
    return Answer(state=VALUE, cells=cells, sigma=sigma)


def summary_of(*answers):
    (found,) = summaries("PatientAge", ["PatientAge"], combined(answers))
    return found


def test_the_stated_interval_holds_the_true_mean_and_quartiles():
    inside = dict.fromkeys(["mean", *SHARES], 0)
    for seed in range(100):
        draw = Random(seed)
        ages = [min(89, max(0, int(draw.gauss(60, 15)))) for _ in range(3000)]
        found = summary_of(a_histogram(ages, draw=draw))
        inside["mean"] += found.mean.low <= true_mean(ages) <= found.mean.high
        for each in found.quantiles:
            exact = sorted(ages)[int(each.share * len(ages))]
            inside[each.share] += each.estimate.low <= exact <= each.estimate.high
    assert min(inside.values()) >= 95


def test_a_mean_without_noise_is_between_the_bins_beginnings_and_ends():
    ages = [5] * 50 + [42] * 30 + [88] * 20

    found = summary_of(a_histogram(ages, sigma=0.0))

    assert found.mean.low == 0.5 * 0 + 0.3 * 40 + 0.2 * 80
    assert found.mean.high == 0.5 * 10 + 0.3 * 50 + 0.2 * 90
    assert found.mean.low <= true_mean(ages) <= found.mean.high
    assert found.quantiles[1].estimate.low <= median(ages) <= found.quantiles[1].estimate.high
    assert found.count == 100


def test_what_hospitals_hid_is_said_and_not_taken_for_nobody():
    few = a_histogram([55] * 100 + [5] * 3, sigma=1.0)

    found = summary_of(few, few)

    assert found.count == 200
    assert found.hidden == 16  # eight bins at two hospitals
    assert not list(summaries("PatientAge", ["PatientAge"], combined([a_histogram([])])))


def test_a_summary_for_each_of_the_other_groups():
    answer = Answer(state=VALUE, sigma=3.0)
    for sex, label, count in (("F", "50-60", 100), ("F", "60-70", 100), ("M", "20-30", 50)):
        answer.cells.append(Cell(values=[sex, label], state=VALUE, count=count))

    found = {
        tuple(s.values): s
        for s in summaries("PatientAge", ["PatientSex", "PatientAge"], combined([answer]))
    }

    assert found["F",].mean.value == 60
    assert found["M",].mean.value == 25


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), st.floats(0, 1))
def test_figures_lie_inside_their_intervals(counts, share):
    bars = [Bar(10 * n, 10 * n + 10, count, 100.0) for n, count in enumerate(counts)]

    for found in (mean_of(bars), quantile(bars, share)):
        assert found.low - 1e-6 <= found.value <= found.high + 1e-6


def test_a_mean_is_of_a_number_that_is_broken_down():
    check_summary(Question(group_by=["PatientAge"]), "PatientAge")
    for name in ("PatientAge", "Modality", "PatientName"):
        with pytest.raises(InvalidRequest):
            check_summary(Question(group_by=["Modality"]), name)


def test_a_quorum_ends_the_waiting_and_the_others_are_named():
    asking = Asking(frozenset({"alpha", "beta", "gamma"}), quorum=2)
    refusal = Answer(state=AnswerState.ANSWER_STATE_REFUSED_POLICY)

    asking = asking.answered("alpha", a_histogram([]))
    assert asking.answered("beta", refusal).patience(asking.asked, 30, 3) == 30
    asking = asking.answered("beta", a_histogram([]))

    assert asking.patience(asking.asked, 30, 3) == 0
    assert absent("q", enough=asking.is_enough).rule == QUORUM_REACHED


@pytest.mark.parametrize(
    "question",
    [
        Question(unit=2, tier=Tier.TIER_EXACT),
        Question(unit=2, tier=Tier.TIER_PUBLIC),
        Question(unit=1, tier=Tier.TIER_PUBLIC, group_by=["Manufacturer", "Modality"]),
        Question(
            unit=1,
            tier=Tier.TIER_PUBLIC,
            where=[Predicate(field="Modality", operator=1, values=["CT"])],
        ),
        Question(unit=1, tier=9),
    ],
)
def test_what_no_hospital_would_answer_at_a_tier_is_asked_of_none(question):
    with pytest.raises(InvalidRequest):
        check_question(question)


def test_the_order_of_a_public_tables_groups_does_not_matter():
    check_question(Question(unit=1, tier=Tier.TIER_PUBLIC, group_by=["PatientSex", "Modality"]))
