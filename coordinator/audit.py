"""The coordinator's audit trail: who did what, in a hash chain that shows any later change."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from coordinator.errors import EnvironmentFault, IntegrityFault
from coordinator.model import Clock
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
ALL = "SELECT number, body, link FROM audit ORDER BY number"


class AuditTrail:
    """Append-only; an entry is durable when `record` returns."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        last = connection.execute(LAST).fetchone()
        self._number: int = 0 if last is None else last[0]
        self._link: bytes = GENESIS if last is None else last[1]

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "AuditTrail":
        try:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(CREATE)
        except sqlite3.Error as fault:
            raise EnvironmentFault(f"{path} cannot be opened: {fault}") from fault
        return cls(connection, clock)

    async def record(self, event: str, **facts: str | float | None) -> None:
        """Append one event; facts name people and things, never patients."""
        await asyncio.to_thread(self._append, event, facts)

    def _append(self, event: str, facts: dict[str, str | float | None]) -> None:
        body = json.dumps({"at": self._clock(), "event": event} | facts, sort_keys=True).encode()
        with self._lock:
            number, link = self._number + 1, chain_link(self._link, body)
            self._connection.execute(APPEND, (number, body, link))
            self._number, self._link = number, link

    def entries(self) -> Iterator[dict[str, object]]:
        """Yield the events from the first on, IntegrityFault at the first that was altered."""
        previous = GENESIS
        with self._lock, closing(self._connection.cursor()) as cursor:
            for expected, (number, body, link) in enumerate(cursor.execute(ALL), start=1):
                previous = chain_link(previous, body)
                if number != expected or previous != link:
                    raise IntegrityFault(f"the audit trail was altered at entry {expected}")
                yield json.loads(body)

    def verify(self) -> int:
        """Return how many entries the unbroken chain has."""
        return sum(1 for _ in self.entries())

    def close(self) -> None:
        self._connection.close()
