"""Two products that say where findings are, on the same patients: boxes, and masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coordinator.evaluation.comparison import McNemar, mcnemar
from coordinator.evaluation.froc import mean_sensitivity
from coordinator.evaluation.pool import Z95
from protos.overlap import DIFFERENCE_BINS
from protos.v1.job_pb2 import PairedDetections, PairedOverlaps

MILLION = 1_000_000
THOUSAND = 1000
FEWEST = 2  # one cluster has no spread


@dataclass(frozen=True, slots=True)
class PairedFigure:
    """`difference` is the first product's figure less the second's, with its 95 % interval."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class FoundAlone:
    """Findings that one product alone found; z and p take a patient's findings together."""

    first_alone: int
    second_alone: int
    z: float
    p: float


@dataclass(frozen=True, slots=True)
class PairedBoxes:
    positives: int
    negatives: int
    lesions: int
    sensitivity: PairedFigure | None  # of findings, each product at its locked threshold
    found: FoundAlone
    false_marks: PairedFigure | None  # a patient, at the locked thresholds
    mean_sensitivity: PairedFigure | None  # at 1/8 to 8 false marks a patient


@dataclass(frozen=True, slots=True)
class PairedMasks:
    patients: int
    dice: PairedFigure | None  # Student's interval and test of the mean difference
    better: McNemar  # patients in whom one product's Dice is the higher: the sign test
    ranks: float | None  # the standardised sum of signed ranks; None where nobody differs
    ranks_p: float


def boxes(pairs: Sequence[PairedDetections]) -> PairedBoxes | None:
    """Compare two detectors on all hospitals' patients; None where there are no findings."""
    if not pairs:
        return None
    total = _added(pairs)
    if total.lesions == 0 or total.positives + total.negatives < FEWEST:
        return None
    this, other = total.this_at_threshold, total.other_at_threshold
    squares = this[1] + other[1] - 2 * total.hits_products
    return PairedBoxes(
        positives=total.positives,
        negatives=total.negatives,
        lesions=total.lesions,
        sensitivity=_sensitivity(total, squares),
        found=_alone(total.this_alone, total.other_alone, squares),
        false_marks=_false_marks(total),
        mean_sensitivity=_summary(total),
    )


def masks(pairs: Sequence[PairedOverlaps]) -> PairedMasks | None:
    """Compare two segmenters' Dice, a pair a patient; None without patients."""
    patients = sum(pair.patients for pair in pairs)
    if patients == 0:
        return None
    counts = [0] * DIFFERENCE_BINS
    for pair in pairs:
        counts = [a + b for a, b in zip(counts, pair.differences, strict=True)]
    middle = DIFFERENCE_BINS // 2
    ranks, p = signed_ranks(counts)
    return PairedMasks(
        patients=patients,
        dice=_mean_difference(
            patients,
            sum(pair.this_dice for pair in pairs),
            sum(pair.other_dice for pair in pairs),
            sum(pair.squares for pair in pairs),
        ),
        better=mcnemar(sum(counts[middle + 1 :]), sum(counts[:middle])),
        ranks=ranks,
        ranks_p=p,
    )


def signed_ranks(counts: Sequence[int]) -> tuple[float | None, float]:
    """Return Wilcoxon's (1945) signed ranks as z with its p, patients of one bin being tied.

    Those without a difference are left out, as Wilcoxon did; the variance is corrected for ties.
    """
    middle = len(counts) // 2
    above = np.array(counts[middle + 1 :], float)
    below = np.array(counts[:middle][::-1], float)
    tied = above + below
    n = tied.sum()
    if n == 0:
        return None, 1.0
    rank = np.cumsum(tied) - (tied - 1) / 2  # the mean of the places a bin takes
    expected = n * (n + 1) / 4
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((tied**3 - tied).sum()) / 48
    z = float((above @ rank - expected) / math.sqrt(variance))
    return z, _two_sided(z)


def _added(pairs: Sequence[PairedDetections]) -> PairedDetections:
    total = PairedDetections()
    for field in total.DESCRIPTOR.fields:
        values = [getattr(pair, field.name) for pair in pairs]
        if all(isinstance(value, int) for value in values):
            setattr(total, field.name, sum(values))
        else:
            getattr(total, field.name).extend(map(sum, zip(*values, strict=True)))
    return total


def _sensitivity(total: PairedDetections, squares: int) -> PairedFigure:
    """Compare shares of the same findings, found by patient (Obuchowski 1998).

    Both are ratios of sums over patients, and so is their difference: its linearised variance,
    with m / (m - 1), is the one that is robust to what a patient's findings have in common.
    """
    this, other = total.this_at_threshold, total.other_at_threshold
    m, n = total.positives + total.negatives, total.lesions
    difference = (this[0] - other[0]) / n
    spread = squares - 2 * difference * (this[2] - other[2]) + difference**2 * total.lesions2
    error = math.sqrt(max(spread, 0.0) * m / (m - 1)) / n
    return _figure(this[0] / n, other[0] / n, error)


def _alone(first: int, second: int, squares: int) -> FoundAlone:
    """Ask, as McNemar, whether lone finds fall to either side alike, by patient.

    The statistic is that of Yang, Sun and Hardin (2010) for clustered pairs: the difference in each
    patient, added up, over the root of the sum of their squares.
    """
    z = (first - second) / math.sqrt(squares) if squares > 0 else 0.0
    return FoundAlone(first, second, z, _two_sided(z))


def _false_marks(total: PairedDetections) -> PairedFigure:
    this, other = total.this_at_threshold, total.other_at_threshold
    m = total.positives + total.negatives
    squares = this[4] + other[4] - 2 * total.marks_products
    mean = (this[3] - other[3]) / m
    variance = max(squares - m * mean**2, 0.0) / (m - 1)
    return _figure(this[3] / m, other[3] / m, math.sqrt(variance / m))


def _summary(total: PairedDetections) -> PairedFigure:
    """Compare the means over 1/8 to 8 false marks; hospitals resampled their own patients."""
    m, n = total.positives + total.negatives, total.lesions
    first, second = (
        mean_sensitivity(hits, marks, m, n)
        for hits, marks in (
            (total.this_hits, total.this_marks),
            (total.other_hits, total.other_marks),
        )
    )
    return _figure(first, second, math.sqrt(total.summary_spread / MILLION) / n)


def _mean_difference(patients: int, first: int, second: int, squares: int) -> PairedFigure | None:
    if patients < FEWEST:
        return None
    from scipy.stats import t

    mean = (first - second) / patients
    variance = max(squares - patients * mean**2, 0.0) / (patients - 1)
    error = math.sqrt(variance / patients)
    half = float(t.ppf(0.975, patients - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, patients - 1)) if error > 0 else float(mean == 0)
    ends = [value / THOUSAND for value in (mean, mean - half, mean + half)]
    return PairedFigure(
        first / patients / THOUSAND, second / patients / THOUSAND, ends[0], ends[1], ends[2], p
    )


def _figure(first: float, second: float, error: float) -> PairedFigure:
    difference = first - second
    z = difference / error if error > 0 else 0.0
    half = Z95 * error
    return PairedFigure(
        first, second, difference, difference - half, difference + half, _two_sided(z)
    )


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))
