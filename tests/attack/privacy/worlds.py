"""Two worlds that differ by one patient, a hospital that answers in them, and an attacker's score.

The hospital's answers, canonical form, noise, budget and threshold are the product's own; only its
patients lie in memory. The attacker knows everybody but the target.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from math import sqrt
from pathlib import Path
from random import Random
from typing import Protocol

from gateway.cohort.answers import Answers
from gateway.cohort.forecast import advantage
from gateway.cohort.privacy import PrivacyLedger
from gateway.policy import Policy, Questions, Trust
from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Answer, AnswerState, Cell, Question
from protos.vocabulary import FIELDS, UNKNOWN

TRIALS = int(os.environ.get("RADFED_TRIALS", "60"))  # of each world; 1000 for a long look
NOBODYS = dict.fromkeys(FIELDS, "")
POLICY = Policy(
    trust=Trust(signed_questions=False, reviewers=0), questions=Questions(requester_share=1.0)
)
OTHERS = [
    NOBODYS | {"Modality": "CT", "PatientSex": sex, "PatientAge": "60", "StudyYear": "2024"}
    for sex, number in (("F", 120), ("M", 90))
    for _ in range(number)
]
TARGET = NOBODYS | {"Modality": "CT", "PatientSex": "O", "PatientAge": "60", "StudyYear": "2024"}


class Hospital(Protocol):
    """What an attacker may do: ask."""

    people: list[dict[str, str]]
    now: datetime

    def ask(self, question: Question) -> Answer: ...


class InMemory:
    """A tally of patients who have one image each."""

    def __init__(self, hospital: "Private") -> None:
        self._hospital = hospital

    def spellings(self, field):
        return sorted({person[field] for person in self._hospital.people})

    def count(self, _unit, where, by, _clip, _bins):
        cells = Counter()
        for person in self._hospital.people:
            if all(person[each.field] in each.words for each in where):
                cells[tuple(_bin(each, person[each.field]) for each in by)] += 1
        return cells


def _bin(grouped, word):
    for low, high, label in grouped.bins:
        inside = low == word if isinstance(low, str) else word and low <= float(word) < high
        if inside:
            return label
    return UNKNOWN


class Private:
    """The product, with keys of its own."""

    def __init__(self, people, draw: Random) -> None:
        self.people = list(people)
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        key = draw.randbytes(32)
        self.ledger = PrivacyLedger.open(Path(":memory:"), key, lambda: self.now)
        self._answers = Answers(lambda: POLICY, InMemory(self), self.ledger)

    def ask(self, question: Question) -> Answer:
        return self._answers.answer(question)

    def spent(self) -> float:
        return float(self.ledger.spent(self.now.year))


class PlainThreshold:
    """The control: exact counts of ten and more, as many federations answer."""

    def __init__(self, people, _draw: Random) -> None:
        self.people = list(people)
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def ask(self, question: Question) -> Answer:
        from gateway.cohort.count import count as true_count
        from gateway.cohort.rules import canonical

        cells = true_count(canonical(question), InMemory(self), 1)
        shown = [
            Cell(values=labels, state=AnswerState.ANSWER_STATE_VALUE, count=n)
            if n >= 10
            else Cell(values=labels, state=AnswerState.ANSWER_STATE_BELOW_THRESHOLD)
            for labels, n in cells.items()
        ]
        return Answer(state=AnswerState.ANSWER_STATE_VALUE, cells=shown)

    def spent(self) -> float:
        return float("nan")


_numbers = count()


def question(*where, by=(), requester="mallory") -> Question:
    asked = Question(
        question_id=f"q{next(_numbers)}",
        unit=COUNT_UNIT_PATIENTS,
        group_by=by,
        requester=requester,
    )
    for field, operator, *values in where:
        asked.where.add(field=field, operator=f"OPERATOR_{operator}", values=values)
    return asked


def figure(answer: Answer, *values: str) -> float:
    """Return a cell's number; an attacker takes a hidden one for its middle."""
    for cell in answer.cells:
        if tuple(cell.values) == values:
            return cell.count if cell.HasField("count") else 5.0
    return 5.0


Attack = Callable[[Hospital, bool], bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How much oftener the target is "seen" where it is than where it is not."""

    found: float
    falsely: float
    trials: int
    rho: float

    @property
    def gain(self) -> float:
        return self.found - self.falsely

    @property
    def error(self) -> float:
        spread = self.found * (1 - self.found) + self.falsely * (1 - self.falsely)
        return sqrt(spread / self.trials) or 1 / self.trials

    @property
    def allowed(self) -> float:
        return advantage(self.rho) + 3 * self.error


def outcome(attack: Attack, kind=Private, trials: int = TRIALS) -> Outcome:
    """Run an attack in both worlds, with fresh keys in each trial."""
    draw, seen, rho = Random(20261123), {True: 0, False: 0}, 0.0
    for _ in range(trials):
        for there in (True, False):
            people = [*OTHERS, TARGET] if there else OTHERS
            hospital = kind(people, draw)
            seen[there] += attack(hospital, there)
            rho = max(rho, hospital.spent())
    return Outcome(seen[True] / trials, seen[False] / trials, trials, rho)
