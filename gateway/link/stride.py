"""How much goes in one piece: as the link has it now, over all transfers and reconnections."""

from collections.abc import Iterator

from gateway.link.rules import (
    FIRST_CHUNK,
    FIRST_STRETCH,
    SMALLEST_CHUNK,
    chunk_for,
    stretch_for,
)
from gateway.release.gate import Released

SOONEST = 1e-3  # seconds: a clock that stood still says nothing of a link


class Stride:
    """Learns from what was acknowledged: a socket takes anything at once, whatever lies behind."""

    def __init__(self) -> None:
        self._chunk, self._stretch = FIRST_CHUNK, FIRST_STRETCH

    def chunk(self) -> int:
        """Return how large a chunk is."""
        return self._chunk

    @property
    def stretch(self) -> int:
        """Return how many bytes go before the other side says that it has them."""
        return self._stretch

    def carried(self, size: int, seconds: float) -> None:
        """Take note that so much arrived in so long; a few bytes say nothing of a link."""
        if size < SMALLEST_CHUNK:
            return
        rate = size / max(seconds, SOONEST)
        self._chunk, self._stretch = chunk_for(rate), stretch_for(rate, self._stretch)


class Stretch:
    """The next so many bytes of an update; what was not drawn stays for the stretch after."""

    def __init__(self, chunks: Iterator[Released], at_most: int) -> None:
        self._chunks, self._at_most = chunks, at_most
        self.bytes = 0

    def __iter__(self) -> "Stretch":
        return self

    def __next__(self) -> Released:
        if self.bytes >= self._at_most:
            raise StopIteration
        released = next(self._chunks)
        self.bytes += len(released.payload)
        return released
