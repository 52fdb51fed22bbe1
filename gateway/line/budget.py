"""What all instances of one process may hold of identified headers at once."""

from threading import Lock
from typing import Final

# What an engine takes for a moment, times the bytes of the header it works on (measured on
# functional groups: 3.5 besides the copy it is given; a Dataset of small items weighs 44).
STREAM_WEIGHS: Final = 5
REFERENCE_WEIGHS: Final = 45


class HeaderMemory:
    """A bound on the headers in memory; whoever finds it spent goes to the vault."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._lock = Lock()

    def claim(self) -> "Claim":
        return Claim(self)

    def take(self, size: int) -> bool:
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


class Claim:
    """One instance's share, by one thread."""

    def __init__(self, memory: HeaderMemory) -> None:
        self._memory = memory
        self._held = 0

    def grow(self, size: int) -> bool:
        """Claim more, or say that there is no more."""
        granted = self._memory.take(size)
        self._held += size if granted else 0
        return granted

    def shrink(self, size: int) -> None:
        """Give back what was claimed for a moment; nothing where all was given back already."""
        size = min(size, self._held)
        self._memory.give_back(size)
        self._held -= size

    def release(self) -> None:
        """Give all of it back; harmless when repeated."""
        self._memory.give_back(self._held)
        self._held = 0
