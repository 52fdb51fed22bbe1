"""Pictures and headers for the console, made in a process of its own.

Decoders are native code and read what strangers sent: one that dies or takes too long costs a
picture, never the gateway. What is read is the store alone, de-identified.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.config import GatewayConfig

SECONDS = 20.0
IDLE_SECONDS = 300.0  # then it goes, and its memory with it
MEMORY_BYTES = 3 << 30
HEAD_BYTES = 8
ANSWER_BYTES = 32 << 20  # a picture has 3, the longest header 4


class PictureRoom:
    """Keeps one such process, asked by one page at a time."""

    def __init__(self, config: GatewayConfig) -> None:
        self._deid = config.deid
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._used = 0.0
        self._watching = False

    def picture(self, file: Path, frame: int, *, small: bool) -> bytes | None:
        return self._ask({"file": str(file), "frame": frame, "small": small}) or None

    def header(self, file: Path) -> list[dict[str, str]]:
        """Return every element of a stored header: what it says now, by which rule, and why."""
        tables = (self._deid.table, self._deid.safe_private_table)
        asked = {
            "file": str(file),
            "profile": self._deid.profile,
            "tables": [str(table) if table else None for table in tables],
        }
        answer = self._ask(asked)
        rows: list[dict[str, str]] = json.loads(answer) if answer else []
        return rows

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, asked: dict[str, Any]) -> bytes:
        with self._lock:
            try:
                return self._answer(json.dumps(asked).encode() + b"\n")
            except (OSError, ValueError):  # it died, or was too slow: another will be started
                self._end()
                return b""

    def _answer(self, question: bytes) -> bytes:
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(question)
        process.stdin.flush()
        until = time.monotonic() + SECONDS
        size = int.from_bytes(_read(process.stdout.fileno(), HEAD_BYTES, until), "big")
        if size > ANSWER_BYTES:  # a decoder has gone astray: what it says fills no memory here
            raise ValueError("too long")
        answer = _read(process.stdout.fileno(), size, until)
        self._used = time.monotonic()
        return answer

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-m", "gateway", "picture-worker"]
            command += [str(os.getpid()), str(MEMORY_BYTES)]
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="pictures", daemon=True).start()
        return self._process

    def _watch(self) -> None:
        while True:
            time.sleep(IDLE_SECONDS / 4)
            with self._lock:
                if self._process is None or time.monotonic() - self._used > IDLE_SECONDS:
                    self._end()
                    self._watching = False
                    return

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()


def _read(descriptor: int, size: int, until: float) -> bytes:
    """Read exactly so many bytes in time; ValueError where that cannot be."""
    found = bytearray()
    while len(found) < size:
        left = until - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise ValueError("too slow")
        chunk = os.read(descriptor, min(size - len(found), 1 << 20))
        if not chunk:
            raise ValueError("it ended")
        found += chunk
    return bytes(found)
