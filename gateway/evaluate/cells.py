"""Counts of tested patients, whole and by subgroup; a cell leaves from ten and ten upwards.

A withheld cell must not be found by subtracting its neighbours from the whole: where what is left
over is itself too small, the smallest shown cell of that field stays too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from gateway.evaluate.predictions import Fault, Scored
from gateway.evaluate.statistics import FEWEST, multiset_bits
from protos.scores import BINS, JOINT, JOINT_BINS, score_bin

ALL = ("", "")
Key = tuple[str, str]  # field and bin


class Sized(Protocol):
    """A cell, as far as the rule of ten and ten asks: patients with and without the finding."""

    @property
    def size(self) -> tuple[int, int]: ...


class Patient(Protocol):
    """A patient, as far as it is counted somewhere."""

    @property
    def fault(self) -> Fault | None: ...
    @property
    def positive(self) -> bool: ...
    @property
    def groups(self) -> Mapping[str, str]: ...


P = TypeVar("P", bound=Patient)
C = TypeVar("C", bound=Sized)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is counted: one patient, with the score, the truth and the subgroups it falls in."""

    score: float | None
    fault: Fault | None
    positive: bool
    groups: Mapping[str, str]


@dataclass(slots=True)
class Cell:
    """Patients of one subgroup by bin of the score, and those called positive."""

    positives: list[int] = field(default_factory=lambda: [0] * BINS)
    negatives: list[int] = field(default_factory=lambda: [0] * BINS)
    true_positives: int = 0
    false_positives: int = 0

    def add(self, score: float, threshold: float, *, positive: bool) -> None:
        (self.positives if positive else self.negatives)[score_bin(score)] += 1
        if score >= threshold:
            self.true_positives += positive
            self.false_positives += not positive

    @property
    def size(self) -> tuple[int, int]:
        return sum(self.positives), sum(self.negatives)

    @property
    def bits(self) -> float:
        """The most a vendor can have written into these counts by choosing scores."""
        return sum(multiset_bits(cases) for cases in self.size)


@dataclass(frozen=True, slots=True)
class Unscored:
    """Patients the product gave no usable score, by the truth."""

    missing_positives: int = 0
    missing_negatives: int = 0
    unusable_positives: int = 0
    unusable_negatives: int = 0
    misplaced_positives: int = 0
    misplaced_negatives: int = 0


def units(
    scored: Scored,
    truth: Mapping[str, int],
    patients: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
) -> list[Unit]:
    """Gather cases into patients, so that what is counted is independent.

    A patient is positive if one case is, and scores as its highest case; a patient with a case that
    has no score has none. Subgroups are those of the patient's first case.
    """
    found = []
    for cases in by_patient(truth, patients):
        faults = [scored.faults[case] for case in cases if case in scored.faults]
        found.append(
            Unit(
                score=None if faults else max(scored.scores[case] for case in cases),
                fault=faults[0] if faults else None,
                positive=any(truth[case] for case in cases),
                groups=groups.get(cases[0], {}),
            )
        )
    return found


def by_patient(truth: Iterable[str], patients: Mapping[str, str]) -> list[list[str]]:
    """Return each patient's cases, in the order of their names."""
    together: dict[str, list[str]] = {}
    for case in sorted(truth):
        together.setdefault(patients[case], []).append(case)
    return list(together.values())


def count(
    listed: Iterable[Unit], threshold: float, fields: Sequence[str]
) -> tuple[dict[Key, Cell], Unscored]:
    """Count every patient's score once in the whole and once in each field."""

    def add(cell: Cell, unit: Unit) -> None:
        assert unit.score is not None
        cell.add(unit.score, threshold, positive=unit.positive)

    return gather(listed, fields, Cell, add)


def gather(
    listed: Iterable[P], fields: Sequence[str], empty: Callable[[], C], add: Callable[[C, P], None]
) -> tuple[dict[Key, C], Unscored]:
    """Add every patient once to the whole and once to a cell of each field; faults apart."""
    cells: dict[Key, C] = {ALL: empty()}
    unscored = dict.fromkeys(Unscored.__slots__, 0)
    for patient in listed:
        if patient.fault is not None:
            side = "positives" if patient.positive else "negatives"
            unscored[f"{patient.fault}_{side}"] += 1
            continue
        for key in (ALL, *((name, patient.groups.get(name, "UNKNOWN")) for name in fields)):
            if key not in cells:
                cells[key] = empty()
            add(cells[key], patient)
    return cells, Unscored(**unscored)


def shown(cells: Mapping[Key, C]) -> dict[Key, C]:
    """Return the cells that may leave without the secure sum; nothing where the whole may not."""
    return _shown(cells, (0, 1))


def shown_of_places(cells: Mapping[Key, C]) -> dict[Key, C]:
    """As `shown`; but where nobody without the finding is in the test, there is none to hide."""
    return _shown(cells, (0, 1) if cells[ALL].size[1] else (0,))


def _shown(cells: Mapping[Key, C], sides: Sequence[int]) -> dict[Key, C]:
    if not _is_enough(cells[ALL].size, sides):
        return {}
    kept = {ALL: cells[ALL]}
    for name in sorted({name for name, _bin in cells if name}):
        within = {key: cell for key, cell in cells.items() if key[0] == name}
        kept |= _without_remainder(within, cells[ALL].size, sides)
    return kept


def _without_remainder(
    within: Mapping[Key, C], whole: tuple[int, int], sides: Sequence[int]
) -> dict[Key, C]:
    kept = {key: cell for key, cell in within.items() if _is_enough(cell.size, sides)}
    while kept:
        left = [
            total - sum(cell.size[side] for cell in kept.values())
            for side, total in enumerate(whole)
        ]
        if not any(left) or _is_enough(left, sides):
            return kept
        kept.pop(min(kept, key=lambda key: (sum(kept[key].size), key)))
    return kept


def _is_enough(size: Sequence[int], sides: Sequence[int]) -> bool:
    return min(size[side] for side in sides) >= FEWEST


@dataclass(frozen=True, slots=True)
class Compared:
    """Two products on the patients both scored: joint bins, and calls at each one's threshold."""

    positives: Mapping[int, int]  # row * JOINT_BINS + column -> patients
    negatives: Mapping[int, int]
    first_alone: int  # called rightly by the first product only
    second_alone: int

    @property
    def bits(self) -> float:
        cells = JOINT_BINS**2
        both = (self.positives, self.negatives)
        return sum(multiset_bits(sum(side.values()), cells) for side in both)


def compare(
    first: Sequence[Unit], second: Sequence[Unit], thresholds: tuple[float, float]
) -> Compared | None:
    """Count pairs of scores; None under ten patients of a class that both products scored."""
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    alone = [0, 0]
    for one, other in zip(first, second, strict=True):
        if one.score is None or other.score is None:
            continue
        cell = (score_bin(one.score) // JOINT) * JOINT_BINS + score_bin(other.score) // JOINT
        side = sides[not one.positive]
        side[cell] = side.get(cell, 0) + 1
        right = [
            (unit.score >= at) == one.positive  # type: ignore[operator]  # scored, as asked above
            for unit, at in zip((one, other), thresholds, strict=True)
        ]
        if right[0] != right[1]:
            alone[right[1]] += 1
    if min(sum(side.values()) for side in sides) < FEWEST:
        return None
    return Compared(sides[0], sides[1], alone[0], alone[1])
