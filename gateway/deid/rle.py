"""RLE Lossless frames as they pass (PS3.5 annex G): only the picture's own bytes are in them.

Packets are followed, not expanded: what a segment holds after its last sample is no picture, and
the bits above and below a sample's own are looked at where the packets have them.
"""

from collections.abc import Sequence
from typing import Final

from gateway.deid.spare import Layout, SpareBits

NOTHING, LONGEST = 128, 257  # a packet of no bytes; a run's length and its first byte add up to it


class Segments:
    """Follows one frame's segments: each is one byte of every sample, the highest first."""

    def __init__(
        self, begins: Sequence[int], end: int, samples: int, layout: Layout | None
    ) -> None:
        """Take where in the frame its segments begin, where the last ends, and samples in each."""
        self._ends: Final = (*begins[1:], end)
        self._samples = samples
        self._spare = None if layout is None else SpareBits(layout)
        self._width = 1 if layout is None else layout.allocated // 8
        self._number = 0
        self._left = samples

    @property
    def sound(self) -> bool:
        return self._spare is None or self._spare.sound

    def look(self, raw: bytes, offset: int) -> tuple[int, slice | None]:
        """Follow what stands at that offset of the frame; return how much, and what to blank of it.

        ValueError where a packet reaches beyond its segment, or its samples beyond the image.
        """
        end = self._ends[self._number] - offset
        stop = min(end, len(raw))
        at = self._packets(raw, stop) if self._left else 0
        if self._left:
            if at < stop and stop == end:
                raise ValueError("a packet is cut")
            if stop < end:
                return at, None
        beside = slice(at, stop)
        if stop == end:
            self._number, self._left = self._number + 1, self._samples
        return stop, beside

    def _packets(self, raw: bytes, stop: int) -> int:
        """Follow packets that are whole, as far as samples are wanted; return where they end."""
        at, left, found = 0, self._left, []
        while left > 0 and at < stop:
            head = raw[at]
            if head == NOTHING:
                at += 1
                continue
            count = head + 1 if head < NOTHING else LONGEST - head
            after = at + (count + 1 if head < NOTHING else 2)
            if after > stop:
                break
            found.append(raw[at + 1 : after])
            left -= count
            at = after
        if left < 0:
            raise ValueError("a segment has more than its samples")
        self._left = left
        if self._spare is not None:
            place = self._width - 1 - self._number % self._width
            self._spare.feed_plane(place, b"".join(found))
        return at
