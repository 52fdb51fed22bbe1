"""Custody in memory: what the DICOM door is tested against when the disk is not the point."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import ReserveReached
from gateway.model import Arrival


@dataclass(frozen=True)
class FakeVerdict:
    kind: str = "stored"
    reason: str = ""


@dataclass(frozen=True)
class Held:
    arrival: Arrival
    dataset: bytes


class FakeIncoming:
    def __init__(self, custody: "FakeCustody", arrival: Arrival) -> None:
        self._custody = custody
        self._arrival = arrival
        self._received = bytearray()
        self._done = False

    def write(self, *chunks: bytes | memoryview) -> None:
        assert not self._done
        for chunk in chunks:
            if self._custody.on_write is not None:
                self._custody.on_write(chunk)
            if self._custody.keep:
                self._received += chunk

    def commit(self) -> FakeVerdict:
        assert not self._done
        self._done = True
        verdict = self._custody.judge(self._arrival)
        with self._custody.lock:
            self._custody.open_now -= 1
            if verdict.kind != "rejected":
                self._custody.held.append(Held(self._arrival, bytes(self._received)))
        return verdict

    def abort(self) -> None:
        if not self._done:
            self._done = True
            with self._custody.lock:
                self._custody.open_now -= 1
                self._custody.aborted += 1


@dataclass
class FakeCustody:
    """Holds every committed dataset; `judge` and `on_write` let a test decide otherwise."""

    judge: Callable[[Arrival], FakeVerdict] = lambda _: FakeVerdict()
    on_write: Callable[[bytes | memoryview], None] | None = None
    full: bool = False
    keep: bool = True  # False: count only, for tests that push much
    held: list[Held] = field(default_factory=list)
    aborted: int = 0
    open_now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, arrival: Arrival) -> FakeIncoming:
        if self.full:
            raise ReserveReached("the disk is down to its reserve")
        with self.lock:
            self.open_now += 1
        return FakeIncoming(self, arrival)
