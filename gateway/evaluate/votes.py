"""Readers' masks of one case, a bit for each reader: whatever is asked of them is asked by plane.

Five readers of a large volume would take five times its voxels; here they take one byte for each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
import numpy.typing as npt

from gateway.errors import IntegrityFault
from gateway.evaluate.overlap import Mask

READERS_AT_MOST = 16  # of one case
IN_A_BYTE = 8


@dataclass(frozen=True, slots=True)
class CaseVotes:
    """How many voxels of a case were drawn by whom: bit i of a pattern is reader i's.

    Voxels are those of the box around everything that was drawn: how much air an image has around
    it says nothing of its readers.
    """

    readers: tuple[str, ...]
    patterns: Mapping[int, int]

    def pairs_dice(self) -> float | None:
        """Return the mean Dice of every two readers; None with fewer than two."""
        pairs = [
            self._dice(1 << one, 1 << other)
            for one, other in combinations(range(len(self.readers)), 2)
        ]
        return fmean(pairs) if pairs else None

    def _dice(self, one: int, other: int) -> float:
        drawn = self._drawn_by(one) + self._drawn_by(other)
        return 2 * self._drawn_by(one | other) / drawn if drawn else 1.0

    def _drawn_by(self, readers: int) -> int:
        return sum(n for pattern, n in self.patterns.items() if pattern & readers == readers)


class Votes:
    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.readers: list[str] = []
        self._bits: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = np.zeros(shape, np.uint8)

    def add(self, reader: str, mask: Mask) -> None:
        """Take a reader's mask in; of several of one reader, what any of them covers."""
        if reader not in self.readers:
            if len(self.readers) == READERS_AT_MOST:
                raise IntegrityFault("more readers drew a case than are compared")
            self.readers.append(reader)
            if len(self.readers) > IN_A_BYTE:
                self._bits = self._bits.astype(np.uint16)
        bit = self._bits.dtype.type(1 << self.readers.index(reader))
        for plane, drawn in zip(self._bits, mask, strict=True):
            np.bitwise_or(plane, drawn * bit, out=plane)

    def mask(self, reader: str) -> Mask:
        return self._by_plane(lambda pattern: bool(pattern >> self.readers.index(reader) & 1))

    def voted(self) -> Mask:
        """Return the voxels that at least half of the readers drew; one reader's are its own."""
        return self._by_plane(lambda pattern: 2 * pattern.bit_count() >= len(self.readers))

    def case(self) -> CaseVotes:
        """Count voxels by who drew them."""
        counts = np.zeros(1 << len(self.readers), np.int64)
        place = self._drawn_into()
        if place is not None:
            for plane in self._bits[place]:
                counts += np.bincount(plane.ravel(), minlength=len(counts))
        patterns = {int(at): int(counts[at]) for at in np.flatnonzero(counts)}
        return CaseVotes(tuple(self.readers), patterns)

    def _drawn_into(self) -> tuple[slice, slice, slice] | None:
        """Return the box around everything that was drawn; None where nothing was."""
        planes = [at for at, plane in enumerate(self._bits) if plane.any()]
        if not planes:
            return None
        flat = np.bitwise_or.reduce(self._bits[planes[0] : planes[-1] + 1], axis=0)
        rows, columns = (np.flatnonzero(flat.any(axis=axis)) for axis in (1, 0))
        return (
            slice(planes[0], planes[-1] + 1),
            slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1),
        )

    def _by_plane(self, holds: Callable[[int], bool]) -> Mask:
        """Return the voxels whose pattern is such; a table is looked up, a plane at a time."""
        table = np.array([holds(pattern) for pattern in range(1 << len(self.readers))])
        mask = np.empty(self._bits.shape, np.bool_)
        for into, plane in zip(mask, self._bits, strict=True):
            np.take(table, plane, out=into)
        return mask
