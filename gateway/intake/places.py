"""Places at the door, counted over all receivers of a gateway: a lock on one byte is a place.

The locks belong to an open file (fcntl(2), F_OFD_SETLK): the kernel gives a place back when its
process dies, so there is no count that could go wrong, and no process that has to keep it.
"""

import fcntl
import os
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import Final

_FLOCK: Final = Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid
EVERYONE: Final = "all"


class Places:
    """Seats for `total` associations in all and `of_each` for one peer."""

    def __init__(self, directory: Path | None, total: int, of_each: int) -> None:
        """Share the count through a directory; without one it is this object's own."""
        self._directory = directory
        self._total = total
        self._of_each = of_each
        self._lock = Lock()
        self._rows: dict[str, _Row] = {}

    def take(self, peer: str) -> tuple[int, int] | None:
        """Return the seat taken, or None where all are."""
        with self._lock:
            own = self._row(f"peer-{peer}", self._of_each)
            mine = own.take()
            if mine is None:
                return None
            shared = self._row(EVERYONE, self._total).take()
            if shared is None:
                own.leave(mine)
                return None
            return mine, shared

    def leave(self, peer: str, seat: tuple[int, int]) -> None:
        mine, shared = seat
        with self._lock:
            self._row(f"peer-{peer}", self._of_each).leave(mine)
            self._row(EVERYONE, self._total).leave(shared)

    def _row(self, name: str, seats: int) -> "_Row":
        if name not in self._rows:
            self._rows[name] = _Row(_open(self._directory, name), seats)
        return self._rows[name]


class _Row:
    """Seats of one kind; a lock is only seen by other open files, so our own are remembered."""

    def __init__(self, descriptor: int, seats: int) -> None:
        self._descriptor = descriptor
        self._seats = seats
        self._ours: set[int] = set()

    def __del__(self) -> None:
        os.close(self._descriptor)

    def take(self) -> int | None:
        for seat in range(self._seats):
            if seat not in self._ours and self._set(seat, fcntl.F_WRLCK):
                self._ours.add(seat)
                return seat
        return None

    def leave(self, seat: int) -> None:
        self._set(seat, fcntl.F_UNLCK)
        self._ours.discard(seat)

    def _set(self, seat: int, kind: int) -> bool:
        wanted = _FLOCK.pack(kind, os.SEEK_SET, seat, 1, 0)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            return False
        return True


def _open(directory: Path | None, name: str) -> int:
    if directory is None:
        return os.memfd_create(name)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
