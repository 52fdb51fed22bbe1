"""Pools hospitals' score histograms into one AUC with its interval, and one for each site."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054


class UnlikeHistograms(ValueError):
    """Histograms on other bins than the protocol's cannot be added."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """One hospital's counts: positives and negatives in each bin of the score, ascending."""

    positives: Sequence[int]
    negatives: Sequence[int]


@dataclass(frozen=True, slots=True)
class Auc:
    """The area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float
    positives: int
    negatives: int
    variance: float = 0.0  # DeLong's; infinite with one case of a class


@dataclass(frozen=True, slots=True)
class Pooled:
    """The federation's figure, over all cases as if in one table, and each site's own."""

    auc: Auc | None
    sites: Mapping[str, Auc | None]


def pool(histograms: Mapping[str, Histogram], bins: int) -> Pooled:
    """Add the hospitals' counts bin by bin; None where a class is missing altogether."""
    for histogram in histograms.values():
        _refuse_odd(histogram, bins)
    total = Histogram(
        _sum((each.positives for each in histograms.values()), bins),
        _sum((each.negatives for each in histograms.values()), bins),
    )
    return Pooled(auc(total), {site: auc(each) for site, each in histograms.items()})


def _sum(counts: Iterable[Sequence[int]], bins: int) -> list[int]:
    return [sum(column) for column in zip([0] * bins, *counts, strict=True)]


def auc(histogram: Histogram) -> Auc | None:
    """Return the Mann-Whitney AUC of binned scores, ties counting half, with DeLong's variance.

    DeLong, DeLong and Clarke-Pearson (1988): the variance comes from each case's placement among
    the other class, and cases of one bin share theirs, so counts per bin are sufficient. The
    interval is taken on the logit scale, where it keeps its coverage near 1.
    """
    positives = np.asarray(histogram.positives, float)
    negatives = np.asarray(histogram.negatives, float)
    m, n = positives.sum(), negatives.sum()
    if m == 0 or n == 0:
        return None
    below, above = _placements(negatives, n), 1.0 - _placements(positives, m)
    value = float(positives @ below / m)
    variance = _variance(positives, below, m) / m + _variance(negatives, above, n) / n
    low, high = _interval(value, variance, min(m, n))
    return Auc(value, low, high, int(m), int(n), float(variance))


def auc_alone(histogram: Histogram) -> float | None:
    """Return `auc`'s value without its interval: live pages ask for hundreds at once."""
    positives = np.fromiter(histogram.positives, float, len(histogram.positives))
    negatives = np.fromiter(histogram.negatives, float, len(histogram.negatives))
    m, n = positives.sum(), negatives.sum()
    return None if m == 0 or n == 0 else float(positives @ _placements(negatives, n) / m)


def _placements(counts: npt.NDArray[np.float64], total: float) -> npt.NDArray[np.float64]:
    """Return each bin's share of cases below it, half of its own included."""
    placed: npt.NDArray[np.float64] = (np.cumsum(counts) - counts / 2) / total
    return placed


def _variance(
    counts: npt.NDArray[np.float64], placed: npt.NDArray[np.float64], total: float
) -> float:
    """Return the unbiased variance of the placements of one class's cases."""
    if total < 2:  # noqa: PLR2004 - one case has no spread
        return math.inf
    mean = counts @ placed / total
    return float(counts @ (placed - mean) ** 2 / (total - 1))


def _interval(value: float, variance: float, fewer: float) -> tuple[float, float]:
    """Return DeLong's interval on the logit scale; Wilson's where the classes separate wholly.

    There DeLong's variance is 0 and would claim certainty: the smaller class's cases are taken as
    so many trials without a failure.
    """
    if value in (0.0, 1.0):
        reach = fewer / (fewer + Z95**2)
        return (reach, 1.0) if value else (0.0, 1.0 - reach)
    if not math.isfinite(variance):
        return 0.0, 1.0
    middle = math.log(value / (1 - value))
    half = Z95 * math.sqrt(variance) / (value * (1 - value))
    return _inverse_logit(middle - half), _inverse_logit(middle + half)


def _inverse_logit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _refuse_odd(histogram: Histogram, bins: int) -> None:
    for counts in (histogram.positives, histogram.negatives):
        if len(counts) != bins or min(counts) < 0:
            raise UnlikeHistograms(f"a histogram does not have the protocol's {bins} bins")
