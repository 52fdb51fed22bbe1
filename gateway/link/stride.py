"""How much goes in one piece: as the link has it now, over all transfers and reconnections."""

from collections.abc import Callable
from time import monotonic

from gateway.link.rules import FIRST_CHUNK, next_chunk


class Stride:
    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._size = FIRST_CHUNK
        self._since: float | None = None

    def begin(self) -> None:
        """Begin a transfer: what lies between two of them says nothing of the link."""
        self._since = None

    def next(self) -> int:
        """Return the size of the next chunk; asked when the one before was taken."""
        now = self._now()
        if self._since is not None:
            self._size = next_chunk(self._size, now - self._since)
        self._since = now
        return self._size
