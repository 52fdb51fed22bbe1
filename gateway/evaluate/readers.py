"""Readers of the same cases: how often each pattern of calls occurs, without naming a reader."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import lgamma, log

READERS_AT_MOST = 5
FEWEST_CASES = 20  # read by all of them, before their patterns may leave


@dataclass(frozen=True, slots=True)
class Readings:
    """Bit i of a pattern's number is reader i's call; readers stand in order of their names."""

    readers: int
    patterns: tuple[int, ...]  # 2 ** readers counts

    @property
    def bits(self) -> float:
        n, cells = sum(self.patterns), len(self.patterns)
        return (lgamma(n + cells) - lgamma(cells) - lgamma(n + 1)) / log(2)


def readings(calls: Iterable[tuple[str, str, int]]) -> Readings | None:
    """Count (case, reader, call) by pattern, over cases that every counted reader read.

    The readers are those with the most cases. None with one reader, or under twenty cases: a
    pattern of few is somebody's disagreement on somebody's image.
    """
    by_case: dict[str, dict[str, int]] = {}
    for case, reader, call in calls:
        by_case.setdefault(case, {})[reader] = call
    load = Counter(reader for read in by_case.values() for reader in read)
    order = sorted(load, key=lambda reader: (-load[reader], reader))[:READERS_AT_MOST]
    # A reader of few cases would shrink what all have read in common: leave the last out until
    # enough is left.
    for number in range(len(order), 1, -1):
        chosen = sorted(order[:number])
        counts = _patterns(by_case.values(), chosen)
        if sum(counts) >= FEWEST_CASES:
            return Readings(number, counts)
    return None


def _patterns(read: Iterable[Mapping[str, int]], chosen: list[str]) -> tuple[int, ...]:
    counts = [0] * 2 ** len(chosen)
    for calls in read:
        if all(reader in calls for reader in chosen):
            counts[sum(bool(calls[reader]) << i for i, reader in enumerate(chosen))] += 1
    return tuple(counts)
