"""Counts of tested patients, whole and by subgroup; a cell leaves from ten and ten upwards.

A withheld cell must not be found by subtracting its neighbours from the whole: where what is left
over is itself too small, the smallest shown cell of that field stays too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.evaluate.predictions import Fault, Scored
from gateway.evaluate.statistics import FEWEST, multiset_bits
from protos.scores import BINS, JOINT, JOINT_BINS, score_bin

ALL = ("", "")
Key = tuple[str, str]  # field and bin


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
    together: dict[str, list[str]] = {}
    for case in sorted(truth):
        together.setdefault(patients[case], []).append(case)
    found = []
    for cases in together.values():
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


def count(
    listed: Iterable[Unit], threshold: float, fields: Sequence[str]
) -> tuple[dict[Key, Cell], Unscored]:
    """Count every patient once in the whole and once in each field."""
    cells: dict[Key, Cell] = {ALL: Cell()}
    unscored = dict.fromkeys(Unscored.__slots__, 0)
    for unit in listed:
        if unit.score is None:
            side = "positives" if unit.positive else "negatives"
            unscored[f"{unit.fault}_{side}"] += 1
            continue
        for key in (ALL, *((name, unit.groups.get(name, "UNKNOWN")) for name in fields)):
            cell = cells.setdefault(key, Cell())
            cell.add(unit.score, threshold, positive=unit.positive)
    return cells, Unscored(**unscored)


def shown(cells: Mapping[Key, Cell]) -> dict[Key, Cell]:
    """Return the cells that may leave without the secure sum; nothing where the whole may not."""
    if min(cells[ALL].size) < FEWEST:
        return {}
    kept = {ALL: cells[ALL]}
    for name in sorted({name for name, _bin in cells if name}):
        within = {key: cell for key, cell in cells.items() if key[0] == name}
        kept |= _without_remainder(within, cells[ALL].size)
    return kept


def _without_remainder(within: Mapping[Key, Cell], whole: tuple[int, int]) -> dict[Key, Cell]:
    kept = {key: cell for key, cell in within.items() if min(cell.size) >= FEWEST}
    while kept:
        left = [
            total - sum(cell.size[side] for cell in kept.values())
            for side, total in enumerate(whole)
        ]
        if not any(left) or min(left) >= FEWEST:
            return kept
        kept.pop(min(kept, key=lambda key: (sum(kept[key].size), key)))
    return kept


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
