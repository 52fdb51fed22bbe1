"""The book of requests: durable until their reports are delivered, sealed while they name anyone.

    request  number   primary key
             name     keyed digest of peer and Transaction UID; not unique: a second request under
                      a UID in use is answered too, with nothing but failures
             content  keyed digest of what was asked
             peer     the peer's name in the settings
             stage    asked -> examined -> delivered | refused | abandoned; damaged: does not open
             sealed   AES-256-GCM: the transaction, its references and their failures; NULL once
                      it is over
             holder   who may deliver it now (an association, or the room), until held_until
             asked_at, due_at, attempts

Receivers add, associations and the room take turns by `holder`: all through this file.
"""

import hmac
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import IntegrityFault
from gateway.intake.commitment import CommitmentRequest, FailureReason, NoPlace, Reference, Report
from gateway.intake.commitment_rules import (
    GIVE_UP_SECONDS,
    KEEP_SECONDS,
    RETRY_SECONDS,
    Answer,
    meaning,
    pause,
)
from gateway.model import RealUID

OPEN_AT_MOST: Final = 10_000  # of one peer
HOLD_SECONDS: Final = 10.0  # how long a report waits for its own association
REPLY_SECONDS: Final = 60.0  # how long whoever delivers may take
ROOM: Final = "room"
NONCE_BYTES: Final = 12

SCHEMA = """
    CREATE TABLE IF NOT EXISTS request (
        number     INTEGER PRIMARY KEY,
        name       TEXT NOT NULL,
        content    TEXT NOT NULL,
        peer       TEXT NOT NULL,
        stage      TEXT NOT NULL,
        sealed     BLOB,
        holder     TEXT,
        held_until REAL NOT NULL,
        asked_at   REAL NOT NULL,
        due_at     REAL NOT NULL,
        attempts   INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX IF NOT EXISTS by_name ON request (name);
    CREATE INDEX IF NOT EXISTS by_stage ON request (stage, due_at);
"""
OPEN_OF_PEER = "SELECT count(*) FROM request WHERE peer = ? AND stage IN ('asked', 'examined')"
SAME_NAME = "SELECT content, stage FROM request WHERE name = ?"
ADD = """
    INSERT INTO request (name, content, peer, stage, sealed, holder, held_until, asked_at, due_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ASKED = "SELECT * FROM request WHERE stage = 'asked' ORDER BY number"
EXAMINED = "UPDATE request SET stage = 'examined', sealed = ? WHERE number = ? AND stage = 'asked'"
OF_HOLDER = """
    SELECT * FROM request WHERE holder = ? AND stage = 'examined' AND held_until > ?
    ORDER BY number LIMIT 1
"""
# A clock that was set back must not keep anything waiting: hence the upper bounds.
DUE = """
    SELECT * FROM request
    WHERE stage = 'examined' AND due_at NOT BETWEEN :now AND :latest
          AND (holder IS NULL OR held_until NOT BETWEEN :now AND :longest)
    ORDER BY number
"""
HOLD = "UPDATE request SET holder = ?, held_until = ? WHERE number = ?"
LET_GO = "UPDATE request SET holder = NULL WHERE holder = ?"
LET_ALL_GO = "UPDATE request SET holder = NULL WHERE holder IS NOT NULL"
OVER = """
    UPDATE request SET stage = ?, sealed = NULL, holder = NULL, due_at = ?
    WHERE number = ? AND stage = 'examined'
"""
AGAIN = "UPDATE request SET holder = NULL, attempts = ?, due_at = ? WHERE number = ?"
OLD = """
    SELECT number, peer FROM request WHERE stage IN ('asked', 'examined') AND asked_at < ?
"""
ABANDON = "UPDATE request SET stage = 'abandoned', sealed = NULL, due_at = ? WHERE number = ?"
SET_ASIDE = "UPDATE request SET stage = 'damaged', due_at = ? WHERE number = ?"
FORGET = "DELETE FROM request WHERE stage NOT IN ('asked', 'examined') AND due_at < ?"
COUNTS = "SELECT stage, count(*) FROM request GROUP BY stage"


class Book:
    """One process's connection; every method is durable when it returns."""

    def __init__(
        self, connection: sqlite3.Connection, key: bytes, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._key = key
        self._clock = clock
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, key: bytes, clock: Callable[[], float] = time.time) -> "Book":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        return cls(connection, key, clock)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # The door's side.

    def take(self, peer: str, request: CommitmentRequest, holder: str) -> None:
        """Keep a request; the same one again while it is open is the one we have already.

        Any other request under a Transaction UID in use fails as a whole (PS3.3 C.14.1.1, 0131H).
        """
        name, content = self._digest(peer, request.transaction), self._content(request)
        now = self._clock()
        with self._writing() as connection:
            if connection.execute(OPEN_OF_PEER, (peer,)).fetchone()[0] >= OPEN_AT_MOST:
                raise NoPlace
            before = connection.execute(SAME_NAME, (name,)).fetchall()
            if any(row["content"] == content and row["stage"] in _OPEN for row in before):
                return
            stage, failures = "asked", dict[int, FailureReason]()
            if before:
                reason = FailureReason.DUPLICATE_TRANSACTION_UID
                stage, failures = "examined", dict.fromkeys(range(len(request.references)), reason)
            sealed = self._close(name, request, failures)
            values = (name, content, peer, stage, sealed, holder, now + HOLD_SECONDS, now, now - 1)
            connection.execute(ADD, values)

    def claim(self, holder: str) -> Report | None:
        """Let an association deliver its report, unless its time for that is over."""
        now = self._clock()
        with self._lock:  # most often there is nothing: look without writing
            found = self._connection.execute(OF_HOLDER, (holder, now)).fetchone()
        if found is None:
            return None
        with self._writing() as connection:
            row = connection.execute(OF_HOLDER, (holder, now)).fetchone()
            if row is None:
                return None
            connection.execute(HOLD, (_at_it(holder), now + REPLY_SECONDS, row["number"]))
        return self._report(row)

    def answered(self, number: int, status: int) -> Answer:
        """Settle a report, or put it off."""
        answer = meaning(status)
        if answer is Answer.AGAIN:
            self.put_off(number)
            return answer
        with self._writing() as connection:
            connection.execute(OVER, (str(answer), self._clock(), number))
        return answer

    def let_go(self, holder: str) -> None:
        with self._writing() as connection:
            connection.execute(LET_GO, (holder,))
            connection.execute(LET_GO, (_at_it(holder),))

    # The room's side.

    def asked(self) -> Iterator[tuple[Report, float]]:
        """Return requests to be examined, and how long ago they came."""
        with self._lock:
            rows = self._connection.execute(ASKED).fetchall()
        for row in rows:
            if (report := self._readable(row)) is not None:
                yield report, self._clock() - row["asked_at"]

    def examined(self, report: Report, failures: Mapping[int, FailureReason]) -> None:
        name = self._digest(report.peer, report.request.transaction)
        sealed = self._close(name, report.request, failures)
        with self._writing() as connection:
            connection.execute(EXAMINED, (sealed, report.number))

    def due_peers(self) -> list[str]:
        """Return peers that a report waits for now."""
        with self._lock:
            rows = self._connection.execute(DUE, self._moment()).fetchall()
        return list(dict.fromkeys(row["peer"] for row in rows))

    def hold_due(self, peer: str, at_most: int) -> list[Report]:
        """Take over the reports due to one peer."""
        moment = self._moment()
        with self._writing() as connection:
            rows = [r for r in connection.execute(DUE, moment) if r["peer"] == peer][:at_most]
            for row in rows:
                connection.execute(HOLD, (ROOM, moment["now"] + REPLY_SECONDS, row["number"]))
        return [report for row in rows if (report := self._readable(row)) is not None]

    def hold_on(self, number: int) -> None:
        """Say that the room is still at it."""
        with self._writing() as connection:
            connection.execute(HOLD, (ROOM, self._clock() + REPLY_SECONDS, number))

    def put_off(self, number: int) -> None:
        """Try again later: after each attempt the pause doubles."""
        with self._writing() as connection:
            row = connection.execute(
                "SELECT attempts FROM request WHERE number = ?", (number,)
            ).fetchone()
            attempts = (row["attempts"] if row else 0) + 1
            connection.execute(AGAIN, (attempts, self._clock() + pause(attempts), number))

    def begin_again(self) -> None:
        """Take back what was held when the gateway was killed: its receivers died with it."""
        with self._writing() as connection:
            connection.execute(LET_ALL_GO)

    def tidy(self) -> list[str]:
        """Give up what is too old, forget what has long been over; return whose was given up."""
        now = self._clock()
        with self._writing() as connection:
            old = connection.execute(OLD, (now - GIVE_UP_SECONDS,)).fetchall()
            for row in old:
                connection.execute(ABANDON, (now, row["number"]))
            connection.execute(FORGET, (now - KEEP_SECONDS,))
        return [row["peer"] for row in old]

    def counts(self) -> dict[str, int]:
        with self._lock:
            found = dict(self._connection.execute(COUNTS).fetchall())
        return {
            "pending": sum(found.pop(stage, 0) for stage in _OPEN),
            "delivered": found.pop("delivered", 0),
            **found,
        }

    def _readable(self, row: sqlite3.Row) -> Report | None:
        """Set a row aside that does not open: it must not hold up the others."""
        try:
            return self._report(row)
        except IntegrityFault:
            with self._writing() as connection:
                connection.execute(SET_ASIDE, (self._clock(), row["number"]))
            return None

    def _moment(self) -> dict[str, float]:
        now = self._clock()
        return {"now": now, "latest": now + RETRY_SECONDS[1], "longest": now + REPLY_SECONDS}

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _digest(self, *parts: str) -> str:
        return hmac.digest(self._key, "\0".join(parts).encode(), sha256).hex()

    def _content(self, request: CommitmentRequest) -> str:
        return self._digest("content", request.transaction, *map("\0".join, request.references))

    def _close(
        self, name: str, request: CommitmentRequest, failures: Mapping[int, FailureReason]
    ) -> bytes:
        plain = {
            "transaction": request.transaction,
            "references": request.references,
            "failures": {place: int(reason) for place, reason in failures.items()},
        }
        nonce = os.urandom(NONCE_BYTES)
        raw = json.dumps(plain, separators=(",", ":")).encode()
        return nonce + AESGCM(self._key).encrypt(nonce, raw, _bound(name))

    def _report(self, row: sqlite3.Row) -> Report:
        sealed: bytes = row["sealed"]
        try:
            raw = AESGCM(self._key).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(row["name"])
            )
        except InvalidTag as fault:
            raise IntegrityFault(
                "the book of storage commitments does not open: another key, or changed"
            ) from fault
        plain: dict[str, Any] = json.loads(raw)
        references = tuple(Reference(c, RealUID(i)) for c, i in plain["references"])
        failures = {int(place): FailureReason(code) for place, code in plain["failures"].items()}
        request = CommitmentRequest(plain["transaction"], references)
        return Report(row["number"], row["peer"], request, failures, row["attempts"])


_OPEN: Final = ("asked", "examined")


def _at_it(holder: str) -> str:
    """Name a holder that has begun to deliver, so that it begins once."""
    return f"{holder} delivers"


def _bound(name: str) -> bytes:
    return b"radfed commitment v1 " + name.encode("ascii")
