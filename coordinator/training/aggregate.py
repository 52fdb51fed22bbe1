"""The arithmetic of a round, piece by piece: updates into one step, the step onto the weights.

An update is a gateway's delta. Everything is float64 until it is written down; the order of
arrival moves a result by rounding in float64 only, far below the wire's float32.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from protos.training import Strategy, TrainingPlan

Piece = npt.NDArray[np.float64]
Moments = tuple[Piece, Piece]  # of the steps, and of their squares


class UnusableUpdate(ValueError):
    """An update cannot be part of the round, or the round has no result."""


def weight_of(weight: float, plan: TrainingPlan) -> float:
    """Return what an update counts: its patients, or one."""
    if not (math.isfinite(weight) and weight > 0):
        raise UnusableUpdate("an update's weight is a positive number")
    return weight if plan.weighting == "patients" and not plan.sees_each_update else 1.0


def mean(pieces: Iterable[Piece], weights: Sequence[float]) -> Piece:
    """Return the weighted mean, with one running sum however many updates there are."""
    total: Piece | None = None
    for piece, weight in zip(pieces, weights, strict=True):
        part = weight * _finite(piece)
        total = part if total is None else np.add(total, part, out=total)
    if total is None:
        raise UnusableUpdate("no update has come: there is no mean")
    return np.asarray(total / sum(weights))


def ordered(pieces: Iterable[Piece], plan: TrainingPlan) -> Piece:
    """Return the coordinate-wise median, or the mean without the extremes (Yin et al. 2018)."""
    stack = np.stack([_finite(piece) for piece in pieces])
    stack.sort(axis=0)
    count = len(stack)
    if plan.strategy is Strategy.MEDIAN:
        return np.asarray((stack[(count - 1) // 2] + stack[count // 2]) / 2)
    cut = trimmed(count, plan.trim)
    return np.asarray(stack[cut : count - cut].mean(axis=0))


def trimmed(count: int, trim: float) -> int:
    """Return how many are cut at each end: rounded up, so that a liar among few is cut too."""
    return min(math.ceil(trim * count), (count - 1) // 2)


def first_moments(length: int, plan: TrainingPlan) -> Moments:
    """Return what the server remembers before the first round (Reddi et al. 2021: v >= tau^2)."""
    return np.zeros(length), np.full(length, plan.tau**2)


def remembered(delta: Piece, before: Moments, plan: TrainingPlan) -> Moments:
    """Return the moments after a step: Adam's, or Yogi's, whose second moves by the square only."""
    first = plan.beta1 * before[0] + (1 - plan.beta1) * delta
    square, past = delta**2, before[1]
    if plan.strategy is Strategy.FEDYOGI:
        second = past - (1 - plan.beta2) * square * np.sign(past - square)
    else:
        second = plan.beta2 * past + (1 - plan.beta2) * square
    return first, second


def adapted(moments: Moments, plan: TrainingPlan) -> Piece:
    """Return the step the server takes (Reddi et al. 2021, algorithm 2)."""
    return np.asarray(plan.server_rate * moments[0] / (np.sqrt(moments[1]) + plan.tau))


def _finite(piece: Piece) -> Piece:
    if not np.isfinite(piece).all():
        raise UnusableUpdate("an update holds a value that is not finite")
    return piece
