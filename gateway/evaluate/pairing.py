"""Two products on the same patients: who is compared, so that who is not stays hidden."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.evaluate.statistics import FEWEST

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Both(Generic[T]):
    """One tested patient; None where the other product gave nothing that can be used."""

    positive: bool
    found: T | None


def comparable(tested: Sequence[Both[T]]) -> list[tuple[bool, T]]:
    """Return the patients to compare; nobody where they are too few.

    The whole less those compared is a cell, too: where somebody is left out, more are, in the order
    they come in, until that cell is of ten and ten. Pseudonyms are in no order that a result knows.
    """
    sides = [[each for each in tested if each.positive is positive] for positive in (True, False)]
    left = [sum(each.found is None for each in side) for side in sides]
    kept = list[tuple[bool, T]]()
    for side, missing in zip(sides, left, strict=True):
        usable = [(each.positive, each.found) for each in side if each.found is not None]
        usable = usable[max(0, FEWEST - missing) if any(left) else 0 :]
        if side and len(usable) < FEWEST:
            return []
        kept += usable
    return kept
