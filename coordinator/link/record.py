"""The recording: every message received, as it came, one file for each caller.

A file is a sequence of frames: u32 length, method name; u32 length, message; big-endian.
"""

import asyncio
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from coordinator.errors import EnvironmentFault, IntegrityFault
from protos.identity import Identity

LENGTH = struct.Struct(">I")


class Recorder:
    """Appends before anything is decoded, so that what was sent can be looked at afterwards."""

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as fault:
            raise EnvironmentFault(f"{directory} cannot be written: {fault.strerror}") from fault
        self._directory = directory
        self._lock = Lock()

    async def keep(self, sender: Identity, method: str, message: bytes) -> None:
        await asyncio.to_thread(self._append, sender, method.encode(), message)

    def _append(self, sender: Identity, method: bytes, message: bytes) -> None:
        path = self._directory / f"{sender.role}.{sender.name}.bin"
        frame = LENGTH.pack(len(method)) + method + LENGTH.pack(len(message)) + message
        with self._lock, open(path, "ab", opener=_private) as file:
            file.write(frame)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def frames(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each recorded (method, message); IntegrityFault where the file ends in a frame."""
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            method = _exactly(file.read(_length(head)), _length(head))
            size = _length(file.read(LENGTH.size))
            yield method.decode(), _exactly(file.read(size), size)


def _length(head: bytes) -> int:
    return int(LENGTH.unpack(_exactly(head, LENGTH.size))[0])


def _exactly(found: bytes, size: int) -> bytes:
    if len(found) != size:
        raise IntegrityFault("the recording ends in the middle of a message")
    return found
