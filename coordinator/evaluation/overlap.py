"""Distributions of Dice and HD95, from counts on fixed bins: quantiles, mean, and shares."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from coordinator.evaluation.intervals import Share, share
from protos.overlap import DICE_EDGES, HD95_EDGES

THOUSAND = 1000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Cases by bin; a quantile is known to within its bin: [low, high), high None at the end."""

    cases: int
    counts: tuple[int, ...]
    quantiles: tuple[tuple[float, float, float | None], ...]  # (share, low, high)


def dice(counts: Iterable[Sequence[int]]) -> Distribution | None:
    return _distribution(counts, (0.0, *DICE_EDGES), 1.0)


def hd95(counts: Iterable[Sequence[int]]) -> Distribution | None:
    return _distribution(counts, (0.0, *HD95_EDGES), None)


def dice_at_least(distribution: Distribution, edge: float) -> Share | None:
    """Return the share of cases whose Dice reaches an edge of the bins."""
    first = DICE_EDGES.index(edge) + 1
    return share(sum(distribution.counts[first:]), distribution.cases)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over patients with Student's 95 % interval."""

    value: float
    low: float
    high: float
    patients: int


def mean_dice(patients: int, thousandths: int, squares: int) -> Mean | None:
    """Return the mean of Dice from its sums; each patient's was rounded to a thousandth."""
    if patients < 2:  # noqa: PLR2004 - one patient has no spread
        return None
    from scipy.stats import t

    value = thousandths / patients
    variance = max(squares - patients * value**2, 0.0) / (patients - 1)
    half = float(t.ppf(0.975, patients - 1)) * math.sqrt(variance / patients)
    low, high = max(0.0, value - half), min(float(THOUSAND), value + half)
    return Mean(value / THOUSAND, low / THOUSAND, high / THOUSAND, patients)


def _distribution(
    counts: Iterable[Sequence[int]], lows: Sequence[float], last: float | None
) -> Distribution | None:
    columns = zip(*counts, strict=True)
    total = tuple(sum(column) for column in columns)
    cases = sum(total)
    if cases == 0:
        return None
    reached = list(accumulate(total))
    highs: Sequence[float | None] = (*lows[1:], last)
    found = []
    for wanted in QUANTILES:
        at = next(number for number, sofar in enumerate(reached) if sofar >= wanted * cases)
        found.append((wanted, lows[at], highs[at]))
    return Distribution(cases, total, tuple(found))
