"""The coordinator's audit trail: who did what, in a hash chain that shows any later change."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from coordinator.audit.file_rows import FileRows
from coordinator.errors import EnvironmentFault, IntegrityFault
from coordinator.model import Clock
from coordinator.postgres.server import Server
from coordinator.postgres.trail import SharedRows
from protos.digest import GENESIS, chain_link

PAGE = 1000  # entries held in memory while the trail is read
ATTEMPTS = 5  # to append, while a command that prunes appends beside


class Rows(Protocol):
    """What the trail needs of its table: a file of this machine, or one that a standby shares."""

    def base(self) -> tuple[int, bytes] | None: ...
    def last(self) -> tuple[int, bytes] | None: ...
    def after(self, number: int, at_most: int) -> Sequence[tuple[int, bytes, bytes]]: ...
    def append(self, number: int, body: bytes, link: bytes) -> bool: ...
    def prune(self, number: int, told: bytes) -> int: ...
    def close(self) -> None: ...


class AuditTrail:
    """Append-only; an entry is durable when `record` returns."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._lock = threading.Lock()
        self._end: tuple[int, bytes] | None = None  # None: to be read again

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "AuditTrail":
        return cls(FileRows(path), clock)

    @classmethod
    def shared(cls, server: Server, clock: Clock, token: int = 0) -> "AuditTrail":
        """Open the trail that coordinators share; it is appended to under a leader's number."""
        return cls(SharedRows(server, token), clock)

    async def record(self, event: str, **facts: str | float | None) -> None:
        """Append one event; facts name people and things, never patients."""
        await asyncio.to_thread(self._append, event, facts)

    def _append(self, event: str, facts: dict[str, str | float | None]) -> None:
        body = self._body(event, facts)
        with self._lock:
            for _ in range(ATTEMPTS):
                end = self._end or self._rows.last() or (0, GENESIS)
                self._end = None  # a failure leaves open whether the entry is there
                number, link = end[0] + 1, chain_link(end[1], body)
                if self._rows.append(number, body, link):
                    self._end = number, link
                    return
        raise EnvironmentFault("another process writes to the audit trail: run one coordinator")

    def _body(self, event: str, facts: dict[str, str | float | None]) -> bytes:
        return json.dumps({"at": self._clock(), "event": event} | facts, sort_keys=True).encode()

    def base(self) -> tuple[int, bytes]:
        """Return what the oldest entry is chained to: GENESIS, until the trail was pruned."""
        return self._rows.base() or (0, GENESIS)

    def prune(self, number: int, event: str, **facts: str | float | None) -> int:
        """Forget the entries up to one and tell so, in one step; return how many went."""
        with self._lock:
            self._end = None
            return self._rows.prune(number, self._body(event, facts))

    def entries(self) -> Iterator[dict[str, object]]:
        """Yield the events from the first on, IntegrityFault at the first that was altered."""
        return (json.loads(body) for _number, body, _link in self.chained())

    def chained(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield number, body and link of each entry, checked as they are read."""
        expected, previous = self.base()
        while page := self._page(expected):
            for number, body, link in page:
                if number != expected + 1 and (base := self.base())[0] == number - 1:
                    expected, previous = base  # it was pruned while it is read
                expected += 1
                previous = chain_link(previous, body)
                if number != expected or previous != link:
                    raise IntegrityFault(f"the audit trail was altered at entry {expected}")
                yield number, body, link

    def _page(self, number: int) -> Sequence[tuple[int, bytes, bytes]]:
        with self._lock:
            return self._rows.after(number, PAGE)

    def verify(self) -> int:
        """Return how many entries the unbroken chain has."""
        return sum(1 for _ in self.entries())

    def note(self, event: str, **facts: str | float | None) -> None:
        """Append one event, for a caller in a thread."""
        self._append(event, facts)

    def length(self) -> int:
        """Return the number of the newest entry."""
        with self._lock:
            end = self._end or self._rows.last()
        return 0 if end is None else end[0]

    def backwards(self, before: int, at_most: int) -> Sequence[tuple[int, bytes]]:
        """Return entries below a number, the newest first, as they were written."""
        top = min(before - 1, self.length())
        bottom = max(0, top - at_most)
        with self._lock:
            rows = self._rows.after(bottom, top - bottom) if top > bottom else ()
        # Of a trail that was pruned, what follows may be later than was asked for.
        return [(number, body) for number, body, _ in reversed(rows) if number <= top]

    def close(self) -> None:
        self._rows.close()
