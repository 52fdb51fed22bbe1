"""The egress ledger: every byte string handed to the network, written down before it goes."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Lock

from gateway.errors import EnvironmentFault, IntegrityFault
from protos.digest import GENESIS, chain_link

# Payloads lie apart from entries, once for each content: a chunk sent twice is two entries and one
# payload, and retention can erase a payload without touching the chain.
SCHEMA = """
    CREATE TABLE IF NOT EXISTS entry (
        number      INTEGER PRIMARY KEY,
        at          TEXT NOT NULL,
        kind        TEXT NOT NULL,
        reference   TEXT NOT NULL,
        rule        TEXT NOT NULL,
        approved_by TEXT NOT NULL,
        size        INTEGER NOT NULL,
        digest      BLOB NOT NULL,  -- SHA-256 of the payload
        link        BLOB NOT NULL   -- SHA-256(previous link || SHA-256(body))
    ) STRICT;
    CREATE TABLE IF NOT EXISTS payload (
        digest  BLOB PRIMARY KEY,
        content BLOB NOT NULL
    ) STRICT;
"""
NEWEST = "SELECT number, link FROM entry ORDER BY number DESC LIMIT 1"
APPEND = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
KEEP = "INSERT INTO payload VALUES (?, ?) ON CONFLICT (digest) DO NOTHING"
ALL = "SELECT * FROM entry WHERE number > ? ORDER BY number LIMIT ?"
ONE = "SELECT * FROM entry WHERE number = ?"
WHERE = "SELECT number FROM entry WHERE link = ?"
CONTENT = "SELECT content FROM payload WHERE digest = ?"
TOTALS = "SELECT kind, COUNT(*), SUM(size) FROM entry GROUP BY kind ORDER BY kind"
TOTAL = "SELECT COALESCE(SUM(size), 0) FROM entry"
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One send attempt: what, when, for which request, under which rule, approved by whom."""

    number: int
    at: str
    kind: str
    reference: str
    rule: str
    approved_by: str
    size: int
    digest: bytes
    link: bytes

    def body(self) -> bytes:
        """Return what the chain is computed over: every fact, the payload by its digest."""
        facts = {
            "number": self.number, "at": self.at, "kind": self.kind, "reference": self.reference,
            "rule": self.rule, "approved_by": self.approved_by, "size": self.size,
            "digest": self.digest.hex(),
        }  # fmt: skip
        return json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class KindTotal:
    kind: str
    entries: int
    size: int


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a verification found: an unbroken chain, or it would have raised."""

    entries: int
    total_bytes: int
    payloads_kept: int
    head: bytes


class Ledger:
    """Appends are durable when they return; several processes may append."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._now = now
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "Ledger":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        return cls(connection, now)

    def append(
        self, kind: str, reference: str, rule: str, approved_by: str, payload: bytes
    ) -> Entry:
        """Write one entry and its payload; both are on disk when this returns.

        EnvironmentFault where they cannot be: then nothing is sent.
        """
        try:
            return self._appended(kind, reference, rule, approved_by, payload)
        except sqlite3.OperationalError as fault:
            raise EnvironmentFault(
                f"the egress ledger cannot be written ({fault}): nothing is sent until it can"
            ) from fault

    def _appended(
        self, kind: str, reference: str, rule: str, approved_by: str, payload: bytes
    ) -> Entry:
        digest = sha256(payload).digest()
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            number, previous = self._connection.execute(NEWEST).fetchone() or (0, GENESIS)
            at = self._now().isoformat()
            draft = Entry(
                number + 1, at, kind, reference, rule, approved_by, len(payload), digest, b""
            )
            link = chain_link(previous, draft.body())
            entry = Entry(*_row(draft)[:-1], link)
            self._connection.execute(KEEP, (digest, payload))
            self._connection.execute(APPEND, _row(entry))
        return entry

    def entries(self, after: int = 0, limit: int | None = None) -> Iterator[Entry]:
        """Yield entries in order, in pages, so that a long ledger never fills memory."""
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            with self._lock:
                rows = self._connection.execute(ALL, (after, size)).fetchall()
            yield from (Entry(*row) for row in rows)
            if len(rows) < size:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    def entry(self, number: int) -> Entry | None:
        with self._lock:
            row = self._connection.execute(ONE, (number,)).fetchone()
        return Entry(*row) if row else None

    def head(self) -> tuple[int, bytes]:
        """Return the newest entry's number and link."""
        with self._lock:
            return self._connection.execute(NEWEST).fetchone() or (0, GENESIS)

    def link_at(self, number: int) -> bytes:
        """Return the link of one entry; empty where there is none of that number."""
        if number == 0:
            return GENESIS
        entry = self.entry(number)
        return entry.link if entry else b""

    def position_of(self, link: bytes) -> int | None:
        """Return which entry has a link; None where none has."""
        if link == GENESIS:
            return 0
        with self._lock:
            row = self._connection.execute(WHERE, (link,)).fetchone()
        return int(row[0]) if row else None

    def payload(self, entry: Entry) -> bytes | None:
        """Return what was sent, or None after its retention has ended."""
        with self._lock:
            row = self._connection.execute(CONTENT, (entry.digest,)).fetchone()
        return bytes(row[0]) if row else None

    def totals(self) -> list[KindTotal]:
        with self._lock:
            return [KindTotal(*row) for row in self._connection.execute(TOTALS)]

    def total_bytes(self) -> int:
        """Return the sum of the bytes of every send attempt."""
        with self._lock:
            return int(self._connection.execute(TOTAL).fetchone()[0])

    def verify(self, signed: Iterable[tuple[int, bytes]] = ()) -> LedgerReport:
        """Walk the chain and every kept payload; IntegrityFault at the first that was changed.

        `signed` are entries and their links as checkpoints have them: without those nobody can
        tell a chain that was cut short, or written anew from its beginning.
        """
        marks = dict(signed)
        previous, count, total, kept = GENESIS, 0, 0, 0
        for entry in self.entries():
            count += 1
            if entry.number != count or entry.link != chain_link(previous, entry.body()):
                raise IntegrityFault(
                    f"the egress ledger was altered at entry {count}: compare it with a backup"
                )
            content = self.payload(entry)
            if content is not None:
                kept += 1
                if len(content) != entry.size or sha256(content).digest() != entry.digest:
                    raise IntegrityFault(f"the payload of ledger entry {count} was altered")
            if marks.pop(count, entry.link) != entry.link:
                raise IntegrityFault(
                    f"entry {count} of the egress ledger is not the one that a checkpoint signed: "
                    "compare it with a backup"
                )
            previous, total = entry.link, total + entry.size
        if missing := max(marks, default=0):
            raise IntegrityFault(
                f"the egress ledger ends at entry {count}, and a checkpoint signed entry "
                f"{missing}: compare it with a backup"
            )
        return LedgerReport(count, total, kept, previous)

    def close(self) -> None:
        self._connection.close()


def _row(entry: Entry) -> tuple[int, str, str, str, str, str, int, bytes, bytes]:
    return (
        entry.number, entry.at, entry.kind, entry.reference, entry.rule, entry.approved_by,
        entry.size, entry.digest, entry.link,
    )  # fmt: skip
