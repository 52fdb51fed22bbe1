"""Attacks on one patient's presence: none gains more than the rho it spent allows.

`RADFED_TRIALS=1000 make attack` looks closely; by itself an attack is tried 60 times in each world.
"""

from itertools import combinations
from random import Random

import pytest

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


def a_whole_year(hospital, _there):
    """Two hundred questions: all that a year's budget buys."""
    pairs = list(combinations(YEARS, 2))[:220]
    answers = [hospital.ask(question(CT, ("StudyYear", "IN", "2024", *pair))) for pair in pairs]
    given = [figure(a) for a in answers if a.state == AnswerState.ANSWER_STATE_VALUE]
    return sum(given) / len(given) > KNOWN + 0.5


def probing_the_cache(hospital, _there):
    """Two questions that count the same unless the target is there: noise by count betrays it."""
    return figure(hospital.ask(question(CT))) != figure(hospital.ask(question(CT, NOT_O)))


def data_that_moves(hospital, there):
    """The target arrives between two asks of one epoch: what changed is the target."""
    hospital.people = list(OTHERS)
    before = figure(hospital.ask(question(CT)))
    hospital.people = [*OTHERS, TARGET] if there else list(OTHERS)
    return figure(hospital.ask(question(CT))) - before > 0.5


ATTACKS = [probing_the_cache, data_that_moves]
names = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)


@names
def test_no_attack_gains_more_than_what_it_spent_allows(attack):
    found = outcome(attack)

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
