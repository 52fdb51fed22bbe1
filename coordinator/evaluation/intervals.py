"""Shares with Wilson's interval, and what else a 2 x 2 table at the locked threshold says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.evaluation.pool import Z95


@dataclass(frozen=True, slots=True)
class Share:
    """`of` cases, `count` of them so; None where there is nobody to count among."""

    count: int
    of: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A product's calls at the threshold the protocol locked."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.true_positives + other.true_positives,
            self.false_negatives + other.false_negatives,
            self.false_positives + other.false_positives,
            self.true_negatives + other.true_negatives,
        )


def share(count: int, of: int) -> Share | None:
    """Return a share with Wilson's 95 % interval (1927): inside [0, 1], never of no width."""
    if of == 0:
        return None
    value, z2 = count / of, Z95**2
    middle = (value + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * math.sqrt(value * (1 - value) / of + z2 / (4 * of**2))
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == of else min(1.0, middle + half)
    return Share(count, of, value, low, high)


def at_threshold(table: Confusion) -> Mapping[str, Share | None]:
    """Return the four shares; predictive values hold for this prevalence alone."""
    hits, misses = table.true_positives, table.false_negatives
    alarms, quiet = table.false_positives, table.true_negatives
    return {
        "sensitivity": share(hits, hits + misses),
        "specificity": share(quiet, quiet + alarms),
        "ppv": share(hits, hits + alarms),
        "npv": share(quiet, quiet + misses),
    }
