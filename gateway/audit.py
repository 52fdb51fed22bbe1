"""The audit trail: who decided what, hash-chained, without a patient in it."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from gateway.durable import free_bytes
from gateway.errors import IntegrityFault
from protos.digest import GENESIS, chain_link

SCHEMA = """
    CREATE TABLE IF NOT EXISTS trail (
        number INTEGER PRIMARY KEY,
        body   TEXT NOT NULL,  -- JSON: at, event, facts
        link   BLOB NOT NULL   -- SHA-256(previous link || SHA-256(body))
    ) STRICT;
    CREATE TABLE IF NOT EXISTS base (  -- where the trail begins, once older entries were pruned
        number INTEGER PRIMARY KEY,
        link   BLOB NOT NULL
    ) STRICT;
"""
NEWEST = """
    SELECT number, link FROM trail UNION ALL SELECT number, link FROM base
    ORDER BY number DESC LIMIT 1
"""
BASE = "SELECT number, link FROM base ORDER BY number DESC LIMIT 1"
AT = """
    SELECT link FROM trail WHERE number = ?1 UNION ALL SELECT link FROM base WHERE number = ?1
"""
WHERE = """
    SELECT number FROM trail WHERE link = ?1 UNION ALL SELECT number FROM base WHERE link = ?1
"""
SINCE = "SELECT number, body, link FROM trail WHERE number > ? ORDER BY number LIMIT ?"
REBASE = "INSERT INTO base VALUES (?, ?)"
FORGET_BASE = "DELETE FROM base WHERE number < ?"
PRUNE = "DELETE FROM trail WHERE number <= ?"
APPEND = "INSERT INTO trail (number, body, link) VALUES (?, ?, ?)"
PAGE = 1000
RESERVE_BYTES = 256 << 10  # room for some hundred refusals on a disk that is full
ROOM_FOR_RESERVE = 16 * RESERVE_BYTES


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is chained."""

    number: int
    body: bytes
    link: bytes


@dataclass(frozen=True, slots=True)
class Event:
    number: int
    at: str
    event: str
    facts: dict[str, object]


class AuditTrail:
    """Appends are durable when they return; several processes may append."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        now: Callable[[], datetime],
        reserve: Path | None = None,
    ) -> None:
        self._connection = connection
        self._now = now
        self._reserve = reserve
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
        connection.executescript(SCHEMA)
        reserve = path.with_suffix(".reserve")
        _set_aside(reserve)
        return cls(connection, now, reserve)

    def record(self, event: str, **facts: str | float | bool | None) -> None:
        """Append one event; facts name pseudonyms, digests, codes and people of the hospital."""
        body = json.dumps(
            {"at": self._now().isoformat(), "event": event, "facts": facts},
            sort_keys=True,
            ensure_ascii=False,
        )
        try:
            self._append(body)
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._release_reserve():
                raise
            self._append(body)

    def _append(self, body: str) -> None:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            number, previous = self._connection.execute(NEWEST).fetchone() or (0, GENESIS)
            link = chain_link(previous, body.encode())
            self._connection.execute(APPEND, (number + 1, body, link))

    def _release_reserve(self) -> bool:
        """Give the room that was set aside to what must be told; False where it is gone."""
        if self._reserve is None:
            return False
        try:
            self._reserve.unlink()
        except OSError:
            return False
        with self._lock:  # a log of 4 KiB an entry would use it up in no time: fold it often
            self._connection.execute("PRAGMA wal_autocheckpoint=16")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def events(self, after: int = 0) -> Iterator[Event]:
        for entry in self.entries(after):
            fields = json.loads(entry.body)
            yield Event(entry.number, fields["at"], fields["event"], fields["facts"])

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Yield what is chained, in order, in pages."""
        while True:
            with self._lock, closing(self._connection.execute(SINCE, (after, PAGE))) as rows:
                found = rows.fetchall()
            yield from (Entry(number, body.encode(), link) for number, body, link in found)
            if len(found) < PAGE:
                return
            after = found[-1][0]

    def head(self) -> tuple[int, bytes]:
        """Return the newest entry's number and link."""
        with self._lock:
            return self._connection.execute(NEWEST).fetchone() or (0, GENESIS)

    def base(self) -> tuple[int, bytes]:
        """Return what the oldest entry is chained to: GENESIS, until the trail was pruned."""
        with self._lock:
            return self._connection.execute(BASE).fetchone() or (0, GENESIS)

    def link_at(self, number: int) -> bytes:
        """Return the link of one entry; empty where there is none of that number."""
        with self._lock:
            row = self._connection.execute(AT, (number,)).fetchone()
        return GENESIS if number == 0 else bytes(row[0]) if row else b""

    def position_of(self, link: bytes) -> int | None:
        """Return which entry has a link; None where none has."""
        if link == GENESIS:
            return 0
        with self._lock:
            row = self._connection.execute(WHERE, (link,)).fetchone()
        return int(row[0]) if row else None

    def prune(self, number: int) -> int:
        """Forget the entries up to one; those after it stay chained to its link."""
        link = self.link_at(number)
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            gone = self._connection.execute(PRUNE, (number,)).rowcount
            if gone:
                self._connection.execute(REBASE, (number, link))
                self._connection.execute(FORGET_BASE, (number,))
        return gone

    def verify(self) -> int:
        """Return how many events there are; IntegrityFault at the first that was changed."""
        start, previous = self.base()
        count = 0
        for count, entry in enumerate(self.entries(), start=1):
            if entry.number != start + count or entry.link != chain_link(previous, entry.body):
                raise IntegrityFault(f"the audit trail was altered at entry {start + count}")
            previous = entry.link
        return count

    def close(self) -> None:
        self._connection.close()


def _set_aside(reserve: Path) -> None:
    """Keep some room for the audit of a full disk; a disk that is full already waits."""
    if reserve.exists() or free_bytes(reserve.parent) < ROOM_FOR_RESERVE:
        return
    with suppress(OSError):
        descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)
