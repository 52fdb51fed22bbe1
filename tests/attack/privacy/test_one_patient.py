"""Attacks on one patient's presence: none gains more than the rho it spent allows.

`RADFED_TRIALS=1000 make attack` looks closely; by itself an attack is tried 60 times in each world.
"""

from datetime import UTC, datetime
from itertools import combinations, product
from random import Random

import pytest

from gateway.cohort.rules import canonical
from gateway.desk.ticks import TICK_SECONDS, due
from protos.v1.question_pb2 import AnswerState
from tests.attack.privacy.worlds import (
    OTHERS,
    TARGET,
    PlainThreshold,
    Private,
    figure,
    outcome,
    question,
)

pytestmark = pytest.mark.attack

CT = ("Modality", "EQUAL", "CT")
NOT_O = ("PatientSex", "NOT_EQUAL", "O")
KNOWN = len(OTHERS)
YEARS = [str(year) for year in range(2000, 2041) if year != 2024]


def differencing(hospital, _there):
    """All, less all but those like the target: what is left is the target."""
    everybody = figure(hospital.ask(question(CT)))
    others = figure(hospital.ask(question(CT, NOT_O)))
    return everybody - others > 0.5


def averaging(hospital, _there):
    """The same question again and again, in the hope that noise averages out."""
    answers = [figure(hospital.ask(question(CT))) for _ in range(50)]
    return sum(answers) / len(answers) > KNOWN + 0.5


def rewrites(number):
    """Yield spellings of one question: order, repeats, tautologies, numbers inside a bin."""
    ages = [("PatientAge", "GREATER_OR_EQUAL", f"{50 + n / 8}") for n in range(80)]
    more = [(), (CT,), (("PatientSex", "IN", "F", "M", "O", "OTHER", "UNKNOWN"),),
            (CT, CT), (("Label", "IN", "POSITIVE", "NEGATIVE", "OTHER", "UNKNOWN"),)]  # fmt: skip
    spelt = [
        [CT, age, *extra] if turn else [*extra, age, CT]
        for age, extra, turn in product(ages, more, (True, False))
    ]
    yield from Random(5).sample(spelt, number)


def rewriting(hospital, _there):
    answers = [figure(hospital.ask(question(*where))) for where in rewrites(25)]
    return sum(answers) / len(answers) > KNOWN + 0.5


def colluding(hospital, _there):
    """Ten requesters, two questions each, in every one of which the target would count."""
    answers = [
        figure(hospital.ask(question(CT, ("StudyYear", "IN", "2024", year), requester=who)))
        for who, year in zip([f"r{n}" for n in range(10)] * 2, YEARS, strict=False)
    ]
    return sum(answers) / len(answers) > KNOWN + 0.5


def a_whole_year(hospital, _there):
    """Two hundred questions: all that a year's budget buys."""
    pairs = list(combinations(YEARS, 2))[:220]
    answers = [hospital.ask(question(CT, ("StudyYear", "IN", "2024", *pair))) for pair in pairs]
    given = [figure(a) for a in answers if a.state == AnswerState.ANSWER_STATE_VALUE]
    return sum(given) / len(given) > KNOWN + 0.5


def restarting(hospital, _there):
    first = figure(hospital.ask(question(CT)))
    hospital.restart()
    return (first + figure(hospital.ask(question(CT)))) / 2 > KNOWN + 0.5


def probing_the_cache(hospital, _there):
    """Two questions that count the same unless the target is there: noise by count betrays it."""
    return figure(hospital.ask(question(CT))) != figure(hospital.ask(question(CT, NOT_O)))


def margins(hospital, _there):
    """A hidden cell as the total less what is shown."""
    total = figure(hospital.ask(question(CT)))
    by_sex = hospital.ask(question(CT, by=("PatientSex",)))
    return total - figure(by_sex, "F") - figure(by_sex, "M") > 0.5


def data_that_moves(hospital, there):
    """The target arrives between two asks of one epoch: what changed is the target."""
    hospital.people = list(OTHERS)
    before = figure(hospital.ask(question(CT)))
    hospital.people = [*OTHERS, TARGET] if there else list(OTHERS)
    return figure(hospital.ask(question(CT))) - before > 0.5


def epochs(hospital, there):
    """The same, with a quarter between."""
    hospital.now = datetime(2026, 7, 1, tzinfo=UTC)
    hospital.people = list(OTHERS)
    before = figure(hospital.ask(question(CT)))
    hospital.now = datetime(2026, 11, 1, tzinfo=UTC)
    hospital.people = [*OTHERS, TARGET] if there else list(OTHERS)
    return figure(hospital.ask(question(CT))) - before > 0.5


def watching_the_clock(hospital, there):
    """A count takes longer where there is more to count: the target's thousand images."""
    takes = 0.01 + 0.1 * there + 0.01 * Random(hospital.people is None).random()
    ticks = isinstance(hospital, Private)
    return (due(0.0, takes, TICK_SECONDS) if ticks else takes) > 0.06 + ticks * TICK_SECONDS


ATTACKS = [
    differencing, averaging, rewriting, colluding, probing_the_cache, margins, data_that_moves,
    epochs, watching_the_clock, restarting,
]  # fmt: skip
names = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)


@names
def test_no_attack_gains_more_than_what_it_spent_allows(attack, tmp_path):
    files = tmp_path if attack is restarting else None  # a restart needs something to read again

    found = outcome(attack, directory=files, trials=20 if files else outcome.__defaults__[1])

    print(f"{attack.__name__}: gain {found.gain:.3f}, allowed {found.allowed:.3f} "
          f"at rho {found.rho:.3f}")  # fmt: skip
    assert found.gain <= found.allowed
    assert found.rho <= 0.1 + 1e-9


@names
def test_the_same_attack_finds_the_patient_behind_a_plain_threshold(attack):
    found = outcome(attack, PlainThreshold, trials=20)

    assert found.gain >= 0.9


def test_a_whole_years_budget_allows_what_the_design_says():
    found = outcome(a_whole_year, trials=12)

    print(f"a year: gain {found.gain:.3f}, allowed {found.allowed:.3f} at rho {found.rho:.3f}")
    assert found.rho == pytest.approx(1.0)
    assert found.gain <= found.allowed
    assert outcome(a_whole_year, PlainThreshold, trials=3).gain == 1


def test_four_hundred_rewrites_are_one_question_and_are_paid_once():
    hospital = Private([*OTHERS, TARGET], Random(3))
    spelt = [question(*where, requester=f"r{n}") for n, where in enumerate(rewrites(400))]

    answers = {figure(hospital.ask(each)) for each in spelt}

    assert len({canonical(each).digest for each in spelt}) == len(answers) == 1
    assert hospital.spent() == 0.005


def test_a_budget_says_nothing_of_the_data():
    """How many questions are answered before a refusal is the same in both worlds."""
    states = {}
    for there in (True, False):
        hospital = Private([*OTHERS, TARGET] if there else OTHERS, Random(11))
        pairs = list(combinations(YEARS, 2))[:210]
        states[there] = [
            hospital.ask(question(CT, ("StudyYear", "IN", "2024", *pair))).rule for pair in pairs
        ]

    assert states[True] == states[False]
    assert states[True].count("") == 200
