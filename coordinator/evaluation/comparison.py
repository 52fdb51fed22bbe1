"""Two products on the same cases: DeLong's paired test over joint bins, McNemar at thresholds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coordinator.evaluation.pool import Z95

Counts = npt.NDArray[np.float64]
Square = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Joint:
    """Cases by the bin the first product put them in (row) and the second (column)."""

    positives: Square
    negatives: Square


@dataclass(frozen=True, slots=True)
class PairedAuc:
    """`difference` is the first product's AUC less the second's."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    z: float
    p: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """Cases that one product called rightly and the other wrongly; p is exact and two-sided."""

    first_alone: int
    second_alone: int
    p: float


def compare(joint: Joint) -> PairedAuc | None:
    """Test two correlated AUCs (DeLong, DeLong and Clarke-Pearson 1988); None without a class."""
    positives = np.asarray(joint.positives, float)
    negatives = np.asarray(joint.negatives, float)
    m, n = positives.sum(), negatives.sum()
    if min(m, n) < 2:  # noqa: PLR2004 - one case has no spread
        return None
    above = [_share_below(negatives.sum(axis=axis), n) for axis in (1, 0)]
    below = [1 - _share_below(positives.sum(axis=axis), m) for axis in (1, 0)]
    areas = [
        float(positives.sum(axis=1) @ above[0] / m),
        float(positives.sum(axis=0) @ above[1] / m),
    ]
    variance = _spread(positives, above) / m + _spread(negatives, below) / n
    difference = areas[0] - areas[1]
    error = math.sqrt(max(variance, 0.0))
    z = difference / error if error > 0 else 0.0
    half = Z95 * error
    return PairedAuc(
        areas[0], areas[1], difference, difference - half, difference + half, z,
        math.erfc(abs(z) / math.sqrt(2)),
    )  # fmt: skip


def mcnemar(first_alone: int, second_alone: int) -> McNemar:
    """Ask whether disagreements fall to either side alike (exact binomial)."""
    from scipy.stats import binom

    differing = first_alone + second_alone
    fewer = min(first_alone, second_alone)
    p = min(1.0, 2 * float(binom.cdf(fewer, differing, 0.5))) if differing else 1.0
    return McNemar(first_alone, second_alone, p)


def _share_below(counts: Counts, total: float) -> Counts:
    placed: Counts = (np.cumsum(counts) - counts / 2) / total
    return placed


def _spread(counts: Counts, placed: Sequence[Counts]) -> float:
    """Return the unbiased variance of the difference of two placements over one class."""
    difference = placed[0][:, None] - placed[1][None, :]
    total = counts.sum()
    mean = (counts * difference).sum() / total
    return float((counts * (difference - mean) ** 2).sum() / (total - 1))
