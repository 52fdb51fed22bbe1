"""Marks against reference findings, patient by patient: the sums FROC is made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import dist

from protos.scores import BINS, score_bin

Point = tuple[float, float, float]  # millimetres, patient coordinates


@dataclass(frozen=True, slots=True)
class Finding:
    """A lesion of the reference standard: a centre, and how far off a mark may be."""

    centre: Point
    radius_mm: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a product says a lesion is: a box's centre, or a point; and how sure it is."""

    centre: Point
    score: float


@dataclass(frozen=True, slots=True)
class DetectionSums:
    """Sums over patients at thresholds "this bin of the score and above"; see coordinator.froc."""

    patients: int
    lesions: int
    lesions2: int
    hits: tuple[int, ...]
    hits2: tuple[int, ...]
    hits_lesions: tuple[int, ...]
    marks: tuple[int, ...]
    marks2: tuple[int, ...]


def detection_sums(
    patients: Iterable[tuple[Sequence[Finding], Sequence[Mark]]],
) -> DetectionSums:
    """Add up patients; each is a cluster, whatever the number of its lesions."""
    people = lesions = lesions2 = 0
    columns = [[0] * BINS for _ in range(5)]
    for findings, marks in patients:
        people += 1
        n = len(findings)
        lesions, lesions2 = lesions + n, lesions2 + n * n
        hits, false = _cumulated(findings, marks)
        for at, (hit, alarm) in enumerate(zip(hits, false, strict=True)):
            for column, value in zip(
                columns, (hit, hit * hit, hit * n, alarm, alarm * alarm), strict=True
            ):
                column[at] += value
    return DetectionSums(people, lesions, lesions2, *map(tuple, columns))


def _cumulated(findings: Sequence[Finding], marks: Sequence[Mark]) -> tuple[list[int], list[int]]:
    """Return a patient's found lesions and false marks at each threshold, the lowest first.

    The surest mark takes the nearest lesion in reach that nobody took; further marks on a lesion
    that was found are neither hits nor false.
    """
    hits, false = [0] * BINS, [0] * BINS
    taken: set[int] = set()
    for mark in sorted(marks, key=lambda mark: (-mark.score, mark.centre)):
        reached = [
            (away, number)
            for number, finding in enumerate(findings)
            if (away := dist(mark.centre, finding.centre)) <= finding.radius_mm
        ]
        free = [each for each in reached if each[1] not in taken]
        if free:
            taken.add(min(free)[1])
            hits[score_bin(mark.score)] += 1
        elif not reached:
            false[score_bin(mark.score)] += 1
    return _from_the_top(hits), _from_the_top(false)


def _from_the_top(counts: list[int]) -> list[int]:
    total, cumulated = 0, [0] * len(counts)
    for at in reversed(range(len(counts))):
        total += counts[at]
        cumulated[at] = total
    return cumulated
