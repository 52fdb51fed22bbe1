"""The coordinator's audit trail: who did what, in a hash chain that shows any later change."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from coordinator.errors import EnvironmentFault, IntegrityFault
from coordinator.model import Clock
from coordinator.postgres.server import Server
from coordinator.postgres.trail import SharedRows
from protos.digest import GENESIS, chain_link

CREATE = """
    CREATE TABLE IF NOT EXISTS audit (
        number INTEGER PRIMARY KEY,
        body   BLOB NOT NULL,
        link   BLOB NOT NULL
    ) STRICT
"""
APPEND = "INSERT INTO audit (number, body, link) VALUES (?, ?, ?)"
LAST = "SELECT number, link FROM audit ORDER BY number DESC LIMIT 1"
AFTER = "SELECT number, body, link FROM audit WHERE number > ? ORDER BY number LIMIT ?"
PAGE = 1000  # entries held in memory while the trail is read


class Rows(Protocol):
    """What the trail needs of its table: a file of this machine, or one that a standby shares."""

    def last(self) -> tuple[int, bytes] | None: ...
    def after(self, number: int, at_most: int) -> Sequence[tuple[int, bytes, bytes]]: ...
    def append(self, number: int, body: bytes, link: bytes) -> None: ...
    def close(self) -> None: ...


class FileRows:
    """The table in an SQLite file of its own."""

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(CREATE)
        except sqlite3.Error as fault:
            raise EnvironmentFault(f"{path} cannot be opened: {fault}") from fault

    def last(self) -> tuple[int, bytes] | None:
        found: tuple[int, bytes] | None = self._connection.execute(LAST).fetchone()
        return found

    def after(self, number: int, at_most: int) -> Sequence[tuple[int, bytes, bytes]]:
        return self._connection.execute(AFTER, (number, at_most)).fetchall()

    def append(self, number: int, body: bytes, link: bytes) -> None:
        self._connection.execute(APPEND, (number, body, link))

    def close(self) -> None:
        self._connection.close()


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
        body = json.dumps({"at": self._clock(), "event": event} | facts, sort_keys=True).encode()
        with self._lock:
            try:
                self._write(body)
            except sqlite3.IntegrityError:  # a command has written meanwhile: after its entry, then
                self._write(body)

    def _write(self, body: bytes) -> None:
        end = self._end or self._rows.last() or (0, GENESIS)
        self._end = None  # a failure leaves open whether the entry is there
        number, link = end[0] + 1, chain_link(end[1], body)
        self._rows.append(number, body, link)
        self._end = number, link

    def entries(self) -> Iterator[dict[str, object]]:
        """Yield the events from the first on, IntegrityFault at the first that was altered."""
        previous, expected = GENESIS, 0
        while page := self._page(expected):
            for number, body, link in page:
                expected += 1
                previous = chain_link(previous, body)
                if number != expected or previous != link:
                    raise IntegrityFault(f"the audit trail was altered at entry {expected}")
                yield json.loads(body)

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
        return [(number, body) for number, body, _ in reversed(rows)]

    def close(self) -> None:
        self._rows.close()
