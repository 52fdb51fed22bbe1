"""Readers of the same cases: how often each pattern of calls occurs, without naming a reader."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lgamma, log

from gateway.evaluate.votes import CaseVotes

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


@dataclass(frozen=True, slots=True)
class VoxelReadings:
    """As `Readings`, of voxels that readers drew; how many cases they are of stands beside."""

    readers: int
    cases: int
    patterns: tuple[int, ...]


def readings(calls: Iterable[tuple[str, str, int]]) -> Readings | None:
    """Count (case, reader, call) by pattern, over cases that every counted reader read.

    None with one reader, or under twenty cases: a pattern of few is somebody's disagreement on
    somebody's image.
    """
    by_case: dict[str, dict[str, int]] = {}
    for case, reader, call in calls:
        by_case.setdefault(case, {})[reader] = call
    chosen = _in_common(list(by_case.values()))
    return Readings(len(chosen), _patterns(by_case.values(), chosen)) if chosen else None


def voxel_readings(cases: Sequence[CaseVotes]) -> VoxelReadings | None:
    """Add up the voxels of cases that every counted reader drew; None where they are too few."""
    chosen = _in_common([case.readers for case in cases])
    if not chosen:
        return None
    counts, drawn = [0] * 2 ** len(chosen), 0
    for case in cases:
        if not set(chosen) <= set(case.readers):
            continue
        drawn += 1
        places = [case.readers.index(reader) for reader in chosen]
        for pattern, voxels in case.patterns.items():
            counts[sum((pattern >> at & 1) << i for i, at in enumerate(places))] += voxels
    return VoxelReadings(len(chosen), drawn, tuple(counts))


def _in_common(read: Sequence[Collection[str]]) -> list[str]:
    """Return the readers with the most cases, by name, that have enough of them in common.

    A reader of few cases would shrink what all have read: the last is left out until it is enough.
    """
    load = Counter(reader for readers in read for reader in readers)
    order = sorted(load, key=lambda reader: (-load[reader], reader))[:READERS_AT_MOST]
    for number in range(len(order), 1, -1):
        chosen = sorted(order[:number])
        if sum(all(each in readers for each in chosen) for readers in read) >= FEWEST_CASES:
            return chosen
    return []


def _patterns(read: Iterable[Mapping[str, int]], chosen: list[str]) -> tuple[int, ...]:
    counts = [0] * 2 ** len(chosen)
    for calls in read:
        if all(reader in calls for reader in chosen):
            counts[sum(bool(calls[reader]) << i for i, reader in enumerate(chosen))] += 1
    return tuple(counts)
