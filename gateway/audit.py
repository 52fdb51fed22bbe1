"""The audit trail: who decided what, hash-chained, without a patient in it."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from gateway.errors import IntegrityFault
from protos.digest import GENESIS, chain_link

SCHEMA = """
    CREATE TABLE IF NOT EXISTS trail (
        number INTEGER PRIMARY KEY,
        body   TEXT NOT NULL,  -- JSON: at, event, facts
        link   BLOB NOT NULL   -- SHA-256(previous link || SHA-256(body))
    ) STRICT
"""
NEWEST = "SELECT number, link FROM trail ORDER BY number DESC LIMIT 1"
APPEND = "INSERT INTO trail (number, body, link) VALUES (?, ?, ?)"
ALL = "SELECT number, body, link FROM trail ORDER BY number"


@dataclass(frozen=True, slots=True)
class Event:
    number: int
    at: str
    event: str
    facts: dict[str, object]


class AuditTrail:
    """Appends are durable when they return; several processes may append."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._now = now
        self._lock = Lock()

    @classmethod
    def open(
        cls, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> "AuditTrail":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(SCHEMA)
        return cls(connection, now)

    def record(self, event: str, **facts: str | float | bool | None) -> None:
        """Append one event; facts name pseudonyms, digests, codes and people of the hospital."""
        body = json.dumps(
            {"at": self._now().isoformat(), "event": event, "facts": facts},
            sort_keys=True,
            ensure_ascii=False,
        )
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            number, previous = self._connection.execute(NEWEST).fetchone() or (0, GENESIS)
            link = chain_link(previous, body.encode())
            self._connection.execute(APPEND, (number + 1, body, link))

    def events(self) -> Iterator[Event]:
        with self._lock, closing(self._connection.execute(ALL)) as rows:
            found = rows.fetchall()
        for number, body, _link in found:
            fields = json.loads(body)
            yield Event(number, fields["at"], fields["event"], fields["facts"])

    def verify(self) -> int:
        """Return how many events there are; IntegrityFault at the first that was changed."""
        previous, expected = GENESIS, 1
        with self._lock:
            rows = self._connection.execute(ALL).fetchall()
        for number, body, link in rows:
            if number != expected or link != chain_link(previous, body.encode()):
                raise IntegrityFault(f"the audit trail was altered at entry {expected}")
            previous, expected = link, expected + 1
        return expected - 1

    def close(self) -> None:
        self._connection.close()
