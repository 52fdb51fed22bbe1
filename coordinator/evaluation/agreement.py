"""Readers of the same cases, from counts of their patterns of calls: kappas and STAPLE."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Pattern = tuple[int, ...]  # one 0 or 1 for each reader
STEPS_AT_MOST = 2000
SETTLED = 1e-12


@dataclass(frozen=True, slots=True)
class Kappa:
    value: float | None  # None where chance alone would agree always
    agreement: float
    cases: int


@dataclass(frozen=True, slots=True)
class Staple:
    """Warfield, Zou and Wells (2004), on calls: each reader's worth against a hidden truth."""

    prevalence: float
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]
    consensus: Mapping[Pattern, float]  # how probably a case with these calls is positive


def cohen(patterns: Mapping[Pattern, int], first: int, second: int) -> Kappa | None:
    """Return Cohen's kappa of two readers; None without cases."""
    table = np.zeros((2, 2))
    for pattern, count in patterns.items():
        table[pattern[first], pattern[second]] += count
    cases = table.sum()
    if cases == 0:
        return None
    agreed = float(np.trace(table) / cases)
    chance = float(table.sum(axis=0) @ table.sum(axis=1) / cases**2)
    return Kappa(_kappa(agreed, chance), agreed, int(cases))


def fleiss(patterns: Mapping[Pattern, int]) -> Kappa | None:
    """Return Fleiss' kappa of all readers; None without cases or with one reader."""
    cases = sum(patterns.values())
    readers = max(map(len, patterns), default=0)
    if cases == 0 or readers < 2:  # noqa: PLR2004 - nobody to agree with
        return None
    agreed = positive = 0.0
    for pattern, count in patterns.items():
        yes = sum(pattern)
        no = readers - yes
        agreed += count * (yes * (yes - 1) + no * (no - 1)) / (readers * (readers - 1))
        positive += count * yes / readers
    share = positive / cases
    return Kappa(_kappa(agreed / cases, share**2 + (1 - share) ** 2), agreed / cases, cases)


def pairs(patterns: Mapping[Pattern, int]) -> dict[tuple[int, int], Kappa | None]:
    readers = max(map(len, patterns), default=0)
    return {pair: cohen(patterns, *pair) for pair in combinations(range(readers), 2)}


def staple(patterns: Mapping[Pattern, int]) -> Staple | None:
    """Estimate the truth behind the calls by expectation and maximisation; None without cases."""
    listed = sorted(pattern for pattern, count in patterns.items() if count)
    if not listed:
        return None
    calls = np.array(listed, float)
    weight = np.array([patterns[pattern] for pattern in listed], float)
    # Readers are taken to be better than chance; otherwise truth and its opposite fit alike.
    sensitivity, specificity = (np.full(calls.shape[1], 0.9) for _ in range(2))
    prevalence = float(np.clip((weight @ calls).mean() / weight.sum(), 1e-6, 1 - 1e-6))
    truth = np.zeros(len(listed))
    for _ in range(STEPS_AT_MOST):
        before = truth
        truth = _expect(calls, prevalence, sensitivity, specificity)
        positive, negative = weight * truth, weight * (1 - truth)
        sensitivity = _worth(positive, calls)
        specificity = _worth(negative, 1 - calls)
        prevalence = float(positive.sum() / weight.sum())
        if np.abs(truth - before).max() < SETTLED:
            break
    consensus = {pattern: float(at) for pattern, at in zip(listed, truth, strict=True)}
    return Staple(prevalence, tuple(map(float, sensitivity)), tuple(map(float, specificity)),
                  consensus)  # fmt: skip


def _expect(
    calls: npt.NDArray[np.float64],
    prevalence: float,
    sensitivity: npt.NDArray[np.float64],
    specificity: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    positive = prevalence * np.prod(np.where(calls == 1, sensitivity, 1 - sensitivity), axis=1)
    negative = (1 - prevalence) * np.prod(np.where(calls == 1, 1 - specificity, specificity), 1)
    total = positive + negative
    expected: npt.NDArray[np.float64] = np.divide(
        positive, total, out=np.full_like(total, prevalence), where=total > 0
    )
    return expected


def _worth(
    weight: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    total = weight.sum()
    if total == 0:
        return np.full(right.shape[1], 0.5)
    worth: npt.NDArray[np.float64] = weight @ right / total
    return worth


def _kappa(agreed: float, chance: float) -> float | None:
    return None if chance >= 1 else (agreed - chance) / (1 - chance)
