"""The bits of a sample above and below those that are the picture: old devices drew in them.

No numpy: the express lane works without it. What stands in a spare bit shows in one byte of each
sample, so that a slice and a translation find it at the speed of memory.
"""

from dataclasses import dataclass
from functools import lru_cache

from gateway.deid.facts import Header

WIDTHS = (8, 16, 32)
BYTE = range(256)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a sample lies in its bits (PS3.5 8.1.1)."""

    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def spare(self) -> int:
        return ((1 << self.allocated) - 1) ^ (
            ((1 << self.stored) - 1) << (self.high + 1 - self.stored)
        )


def layout(header: Header) -> Layout | None:
    """Return where native samples have bits to spare; None where they have none."""
    allocated, stored = header.small("BitsAllocated"), header.small("BitsStored")
    high = header.small("HighBit", absent=stored - 1)
    if allocated not in WIDTHS or not 0 < stored < allocated or not stored <= high + 1 <= allocated:
        return None
    return Layout(allocated, stored, high, header.small("PixelRepresentation") == 1)


class SpareBits:
    """Looks through samples as they pass; `sound` unless something is drawn there."""

    def __init__(self, layout: Layout, *, big_endian: bool = False) -> None:
        self._width = layout.allocated // 8
        self._at = 0
        self._empty, self._extended = True, layout.signed
        self._looks = _looks(layout, big_endian)

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        raw = bytes(chunk)
        for place, empty, extended in self._looks:
            self._look(raw[(place - self._at) % self._width :: self._width], empty, extended)
        self._at += len(raw)

    def feed_plane(self, place: int, found: bytes) -> None:
        """Look through that byte of many samples, the lowest being 0."""
        for other, empty, extended in self._looks:
            if other == place:
                self._look(found, empty, extended)

    def _look(self, found: bytes, empty: bytes, extended: bytes) -> None:
        self._empty = self._empty and not found.translate(None, empty)
        self._extended = self._extended and not found.translate(None, extended)

    @property
    def sound(self) -> bool:
        """Tell samples whose spare bits are all empty, or all as the sign (two's complement)."""
        return self._empty or self._extended


@lru_cache(maxsize=64)
def _looks(layout: Layout, big_endian: bool) -> tuple[tuple[int, bytes, bytes], ...]:  # noqa: FBT001 - a key of the cache
    """Return which byte of a sample has bits to spare, and what it may be: empty, or as the sign.

    A scanner's images share a layout: its tables are made once.
    """
    width = layout.allocated // 8
    found = []
    for place in range(width):
        mask = layout.spare >> 8 * place & 0xFF
        if mask:
            empty = bytes(value for value in BYTE if not value & mask)
            at = width - 1 - place if big_endian else place
            found.append((at, empty, _with_sign(layout, place, mask)))
    return tuple(found)


def _with_sign(layout: Layout, place: int, mask: int) -> bytes:
    sign = 1 << layout.high >> 8 * place & 0xFF
    if not sign:
        return b"\0\xff" if layout.high < 8 * place else bytes(v for v in BYTE if not v & mask)
    return bytes(value for value in BYTE if value & mask == (mask if value & sign else 0))
