"""The pipes and the files without a name that cross into a sandbox."""

import contextlib
import os
from collections.abc import Iterator
from fcntl import F_SETPIPE_SZ, fcntl

CHUNK = 1 << 20


class Pipe:
    """A pipe whose ends are closed once each, at the latest by the stack."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        self._ends = {self.read, self.write}
        stack.callback(self._close_all)

    def widen(self) -> None:
        """Let a large output pass in large pieces, where the system gives room (pipe(7))."""
        with contextlib.suppress(OSError):
            fcntl(self.write, F_SETPIPE_SZ, CHUNK)

    def close_write(self) -> None:
        self._ends.discard(self.write)
        os.close(self.write)

    def _close_all(self) -> None:
        for end in self._ends:
            os.close(end)


@contextlib.contextmanager
def memory_file(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("radfed", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
