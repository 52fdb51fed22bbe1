"""Marks against reference findings, case by case and patient by patient: what FROC is made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import dist, inf, prod

import numpy as np
import numpy.typing as npt

from gateway.evaluate.predictions import Fault
from gateway.model import Box, Point
from protos.evaluation import Hit, HitBy
from protos.scores import BINS, score_bin

Counts = npt.NDArray[np.int64]  # by bin of the score, and the last at the locked threshold
COLUMNS = ("hits", "hits2", "hits_lesions", "marks", "marks2")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a product says a finding is, and how sure it is."""

    box: Box
    score: float


def centre(box: Box) -> Point:
    x, y, z = ((low + high) / 2 for low, high in zip(box.low, box.high, strict=True))
    return x, y, z


def iou(one: Box, other: Box) -> float:
    """Return the shared volume as a share of the volume both cover together."""
    shared = prod(
        max(0.0, min(a, b) - max(c, d))
        for a, b, c, d in zip(one.high, other.high, one.low, other.low, strict=True)
    )
    together = _volume(one) + _volume(other) - shared
    return shared / together if together > 0 else 0.0


def off(mark: Box, finding: Box, hit: Hit) -> float:
    """Return how far off a mark is, the smaller the better; infinity for no hit."""
    middle = centre(mark)
    if hit.by is HitBy.IOU:
        shared = iou(mark, finding)
        return 1 - shared if shared >= (hit.at or 1.0) else inf
    away = dist(middle, centre(finding))
    if hit.by is HitBy.DISTANCE:
        return away if away <= (hit.at or 0.0) else inf
    inside = all(
        low <= at <= high for low, at, high in zip(finding.low, middle, finding.high, strict=True)
    )
    return away if inside else inf


@dataclass(frozen=True, slots=True)
class Found:
    """One case or one patient: findings, those hit and false marks at each threshold."""

    lesions: int
    hits: Counts
    marks: Counts

    def __add__(self, other: "Found") -> "Found":
        return Found(self.lesions + other.lesions, self.hits + other.hits, self.marks + other.marks)


@dataclass(frozen=True, slots=True)
class Taken:
    """A mark that counts: the finding it was the first to hit, or None for a false one."""

    score: float
    finding: int | None


def take(findings: Sequence[Box], marks: Sequence[Mark], hit: Hit) -> list[Taken]:
    """Let the surest mark take the nearest finding in reach that nobody took, and so on.

    Further marks on a finding that was found are neither hits nor false.
    """
    found, taken = list[Taken](), set[int]()
    for mark in sorted(marks, key=lambda mark: (-mark.score, mark.box)):
        reached = [(off(mark.box, box, hit), number) for number, box in enumerate(findings)]
        reached = [each for each in reached if each[0] < inf]
        free = [each for each in reached if each[1] not in taken]
        if reached and not free:
            continue
        number = min(free)[1] if free else None
        if number is not None:
            taken.add(number)
        found.append(Taken(mark.score, number))
    return found


def tally(lesions: int, taken: Iterable[Taken], threshold: float) -> Found:
    """Count a case's found findings and false marks at each threshold, the lowest first."""
    hits, false = (np.zeros(BINS + 1, np.int64) for _ in range(2))
    for each in taken:
        column = false if each.finding is None else hits
        column[score_bin(each.score)] += 1
        column[BINS] += each.score >= threshold
    return Found(lesions, _from_the_top(hits), _from_the_top(false))


def search(
    findings: Sequence[Box], marks: Sequence[Mark], hit: Hit, threshold: float = 1.0
) -> Found:
    """Look for a case's findings among a product's marks."""
    return tally(len(findings), take(findings, marks, hit), threshold)


def hit_at(taken: Iterable[Taken], threshold: float) -> set[int]:
    """Return the findings that were hit by marks from a threshold upwards."""
    return {each.finding for each in taken if each.finding is not None and each.score >= threshold}


def _from_the_top(counts: Counts) -> Counts:
    return np.append(np.cumsum(counts[BINS - 1 :: -1])[::-1], counts[BINS])


def _volume(box: Box) -> float:
    return prod(high - low for low, high in zip(box.low, box.high, strict=True))


@dataclass(frozen=True, slots=True)
class Searched:
    """One patient in whom a product looked for findings, with the subgroups it falls in."""

    found: Found | None
    fault: Fault | None
    positive: bool
    groups: Mapping[str, str]


@dataclass(slots=True)
class Searches:
    """Sums over patients; each is a cluster, whatever the number of its findings."""

    positives: int = 0
    negatives: int = 0
    lesions: int = 0
    lesions2: int = 0
    columns: Mapping[str, Counts] = field(
        default_factory=lambda: {name: np.zeros(BINS + 1, np.int64) for name in COLUMNS}
    )

    def add(self, patient: Searched) -> None:
        found = patient.found
        assert found is not None
        self.positives += patient.positive
        self.negatives += not patient.positive
        self.lesions += found.lesions
        self.lesions2 += found.lesions**2
        hits, marks = found.hits, found.marks
        added = (hits, hits**2, hits * found.lesions, marks, marks**2)
        for name, values in zip(COLUMNS, added, strict=True):
            self.columns[name][:] += values

    @property
    def size(self) -> tuple[int, int]:
        return self.positives, self.negatives


def merged(drawn: Mapping[str, Iterable[Box]]) -> list[Box]:
    """Make several readers' findings one list: those of two readers that touch are one finding.

    What one reader saw alone counts, too: so do words on whole cases (`POSITIVE` stands).
    """
    groups: list[list[tuple[str, Box]]] = []
    for reader in sorted(drawn):
        for box in drawn[reader]:
            mine = (reader, box)
            touched = [group for group in groups if any(_is_same(mine, other) for other in group)]
            groups = [group for group in groups if group not in touched]
            groups.append([mine, *(each for group in touched for each in group)])
    return [_enclosing([box for _, box in group]) for group in groups]


def _is_same(one: tuple[str, Box], other: tuple[str, Box]) -> bool:
    (reader, first), (another, second) = one, other
    touch = all(
        low <= high
        for low, high in (
            *zip(first.low, second.high, strict=True),
            *zip(second.low, first.high, strict=True),
        )
    )
    return reader != another and touch


def _enclosing(boxes: Sequence[Box]) -> Box:
    def ends(pick: Callable[[Iterable[float]], float], sides: Sequence[Point]) -> Point:
        x, y, z = (pick(side[axis] for side in sides) for axis in range(3))
        return x, y, z

    return Box(ends(min, [box.low for box in boxes]), ends(max, [box.high for box in boxes]))
