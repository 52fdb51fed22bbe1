"""Curves over the bins: ROC points, and the area under precision and recall."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coordinator.evaluation.pool import Histogram


@dataclass(frozen=True, slots=True)
class RocPoint:
    false_positive_rate: float
    sensitivity: float


def roc(histogram: Histogram) -> list[RocPoint]:
    """Return the corners of the ROC curve, from (0, 0) to (1, 1); empty without both classes."""
    hits, alarms = _from_the_top(histogram)
    if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
        return []
    corners = zip(alarms / alarms[-1], hits / hits[-1], strict=True)
    return [RocPoint(0.0, 0.0), *(RocPoint(float(x), float(y)) for x, y in corners)]


def average_precision(histogram: Histogram) -> float | None:
    """Return the area under precision and recall, as steps: no line is drawn between thresholds."""
    hits, alarms = _from_the_top(histogram)
    if not len(hits) or hits[-1] == 0:
        return None
    called = hits + alarms
    gained = np.diff(hits, prepend=0.0)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return float(gained @ precision / hits[-1])


def _from_the_top(
    histogram: Histogram,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how many of either class score at least as high, at each bin that holds somebody."""
    positives = np.asarray(histogram.positives, float)[::-1]
    negatives = np.asarray(histogram.negatives, float)[::-1]
    held = (positives + negatives) > 0
    return np.cumsum(positives)[held], np.cumsum(negatives)[held]
