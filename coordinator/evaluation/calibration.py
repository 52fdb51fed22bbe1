"""Calibration on binned logits: intercept and slope, Brier score, ECE, and the curve's points.

Each case stands at the middle of its bin, so a figure is exact for the binned scores and off by
at most half a bin (0.05 on the logit scale) for the scores themselves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coordinator.evaluation.pool import Z95, Histogram
from protos.scores import MIDDLES

STEPS_AT_MOST = 100
SETTLED = 1e-12
STEEPEST = 60.0  # a slope beyond means classes that separate: there is no maximum to find
ECE_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One group of the calibration curve: what was predicted, and what was."""

    predicted: float
    observed: float
    cases: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """`slope` and `intercept` are of logit(truth) on logit(score); None where nothing fits."""

    intercept: Estimate | None
    slope: Estimate | None
    brier: float
    ece: float
    curve: tuple[Point, ...]


def calibrate(histogram: Histogram) -> Calibration | None:
    """Return how far scores are probabilities; None without cases."""
    positives = np.asarray(histogram.positives, float)
    cases = positives + np.asarray(histogram.negatives, float)
    total = cases.sum()
    if total == 0:
        return None
    score = 1 / (1 + np.exp(-np.asarray(MIDDLES)))
    errors = positives * (1 - score) ** 2 + (cases - positives) * score**2
    curve = _curve(score, positives, cases)
    gaps = sum(abs(point.predicted - point.observed) * point.cases for point in curve)
    fitted = fit(np.asarray(MIDDLES), positives, cases)
    intercept, slope = fitted if fitted is not None else (None, None)
    return Calibration(
        intercept, slope, float(errors.sum() / total), float(gaps / total), tuple(curve)
    )


def fit(
    x: npt.NDArray[np.float64], positives: npt.NDArray[np.float64], cases: npt.NDArray[np.float64]
) -> tuple[Estimate, Estimate] | None:
    """Fit a logistic line to counts by Newton's steps; None where no maximum is found."""
    held = cases > 0
    x, positives, cases = x[held], positives[held], cases[held]
    if len(x) < 2 or positives.sum() in (0.0, cases.sum()):  # noqa: PLR2004 - a line needs two points
        return None
    design = np.column_stack((np.ones_like(x), x))
    found = np.array([0.0, 0.0])
    for _ in range(STEPS_AT_MOST):
        expected = 1 / (1 + np.exp(-np.clip(design @ found, -700, 700)))
        weight = cases * expected * (1 - expected)
        information = design.T @ (design * weight[:, None])
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return None
        step = np.linalg.solve(information, design.T @ (positives - cases * expected))
        # Half steps keep a far start from running away.
        found = found + step / max(1.0, float(np.abs(step).max()) / 2)
        if abs(found[1]) > STEEPEST:
            return None
        if np.abs(step).max() < SETTLED * (1 + np.abs(found).max()):
            spread = np.sqrt(np.diag(np.linalg.inv(information)))
            intercept, slope = (_estimate(found[i], spread[i]) for i in range(2))
            return intercept, slope
    return None


def _curve(
    score: npt.NDArray[np.float64],
    positives: npt.NDArray[np.float64],
    cases: npt.NDArray[np.float64],
) -> list[Point]:
    """Gather the bins into ten groups of equal width on the scale of probability."""
    group = np.minimum((score * ECE_GROUPS).astype(int), ECE_GROUPS - 1)
    points = []
    for number in range(ECE_GROUPS):
        inside = group == number
        held = cases[inside].sum()
        if held:
            predicted = float(score[inside] @ cases[inside] / held)
            points.append(Point(predicted, float(positives[inside].sum() / held), int(held)))
    return points


def _estimate(value: float, spread: float) -> Estimate:
    half = Z95 * float(spread)
    return Estimate(float(value), float(value) - half, float(value) + half)
