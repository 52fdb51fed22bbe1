"""FROC from sums over patients: found lesions and false marks at each score, by clusters."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coordinator.evaluation.pool import Z95
from protos.scores import FALSE_MARKS


class UnlikeSums(ValueError):
    """Sums over other thresholds cannot be added."""


@dataclass(frozen=True, slots=True)
class FrocSums:
    """One hospital's sums over its patients; lists have one entry for each threshold, rising.

    A patient with n lesions, h of them found and f false marks adds to `hits` h, to `hits2` h^2,
    to `hits_lesions` h n, to `marks` f and to `marks2` f^2.
    """

    patients: int
    lesions: int
    lesions2: int
    hits: Sequence[int]
    hits2: Sequence[int]
    hits_lesions: Sequence[int]
    marks: Sequence[int]
    marks2: Sequence[int]


@dataclass(frozen=True, slots=True)
class FrocPoint:
    false_marks: float  # per patient
    false_marks_low: float
    false_marks_high: float
    sensitivity: float  # of lesions
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Froc:
    points: tuple[FrocPoint, ...]
    mean_sensitivity: float  # at FALSE_MARKS


def add(sums: Iterable[FrocSums]) -> FrocSums | None:
    """Add hospitals' sums; None where there are none."""
    listed = list(sums)
    if not listed:
        return None
    columns = ("hits", "hits2", "hits_lesions", "marks", "marks2")
    lengths = {len(getattr(each, name)) for each in listed for name in columns}
    if len(lengths) != 1:
        raise UnlikeSums("sums over other thresholds than the protocol's cannot be added")
    totals = {
        name: tuple(map(sum, zip(*(getattr(each, name) for each in listed), strict=True)))
        for name in columns
    }
    return FrocSums(
        sum(each.patients for each in listed),
        sum(each.lesions for each in listed),
        sum(each.lesions2 for each in listed),
        **totals,
    )


def froc(sums: FrocSums) -> Froc | None:
    """Return the curve; intervals are cluster-robust, since lesions of one patient go together.

    Sensitivity is a ratio of sums over patients (linearised variance with m / (m - 1)), on the
    logit scale.
    """
    if sums.lesions == 0 or sums.patients < 2:  # noqa: PLR2004 - one cluster has no spread
        return None
    points = tuple(_point(sums, at) for at in range(len(sums.hits)))
    mean = mean_sensitivity(sums.hits, sums.marks, sums.patients, sums.lesions)
    return Froc(points, mean)


def _point(sums: FrocSums, at: int) -> FrocPoint:
    m, n = sums.patients, sums.lesions
    sensitivity = sums.hits[at] / n
    squares = (
        sums.hits2[at] - 2 * sensitivity * sums.hits_lesions[at] + sensitivity**2 * sums.lesions2
    )
    error = math.sqrt(max(squares, 0.0) * m / (m - 1)) / n
    low, high = _on_logits(sensitivity, error, n)
    rate = sums.marks[at] / m
    spread = math.sqrt(max(sums.marks2[at] - m * rate**2, 0.0) / (m - 1) / m)
    return FrocPoint(
        rate, max(0.0, rate - Z95 * spread), rate + Z95 * spread, sensitivity, low, high
    )


def _on_logits(value: float, error: float, trials: int) -> tuple[float, float]:
    """Return an interval inside (0, 1); at the ends Wilson's, where the variance would be 0."""
    if value in (0.0, 1.0):
        reach = trials / (trials + Z95**2)
        return (reach, 1.0) if value else (0.0, 1 - reach)
    middle, half = math.log(value / (1 - value)), Z95 * error / (value * (1 - value))
    return 1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle))


def mean_sensitivity(
    hits: Sequence[int], marks: Sequence[int], patients: int, lesions: int
) -> float:
    """Return the mean of the best sensitivities at no more than FALSE_MARKS a patient."""
    read = [(mark / patients, hit) for hit, mark in zip(hits, marks, strict=True)]
    best = (max((hit for false, hit in read if false <= at), default=0) for at in FALSE_MARKS)
    return math.fsum(hit / lesions for hit in best) / len(FALSE_MARKS)
