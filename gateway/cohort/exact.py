"""Exact tables (T2): a snapshot frozen for the epoch, and every table that was given of it."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock

from gateway.cohort.count import atoms_of
from gateway.cohort.rules import Canonical, Condition, Unit
from gateway.cohort.suppression import Table, Unsafe, cells_of, protect
from gateway.store.tally import Tally
from protos.vocabulary import FIELDS

SCHEMA = """
    CREATE TABLE IF NOT EXISTS snapshot (
        epoch     TEXT PRIMARY KEY,
        people    TEXT NOT NULL,  -- JSON: [[atom of each field...], patients]; no identifier
        withdrawn BLOB NOT NULL   -- a digest of who had withdrawn
    ) STRICT;
    CREATE TABLE IF NOT EXISTS given (
        question BLOB NOT NULL,   -- SHA-256 of the canonical form
        epoch    TEXT NOT NULL,
        body     TEXT NOT NULL,   -- JSON: what was asked, every cell, which are hidden
        PRIMARY KEY (question, epoch)
    ) STRICT;
"""
SNAPSHOT = "SELECT people, withdrawn FROM snapshot WHERE epoch = ?"
FREEZE = "INSERT INTO snapshot VALUES (?, ?, ?)"
FORGET = "UPDATE snapshot SET people = '' WHERE epoch = ? OR epoch < ?"
OUTDATE = "INSERT OR REPLACE INTO snapshot VALUES (?, '', x'')"
GIVEN = "SELECT question, body FROM given WHERE epoch = ? ORDER BY rowid"
GIVE = "INSERT INTO given VALUES (?, ?, ?)"

People = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Exact:
    """A table as it may leave: the hidden cells have no number."""

    cells: Mapping[tuple[str, ...], int | None]
    epoch: str


class ExactTables:
    """Counts each table once in an epoch, and audits it against all the others."""

    def __init__(self, connection: sqlite3.Connection, tally: Tally) -> None:
        self._connection = connection
        self._tally = tally
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, tally: Tally) -> "ExactTables":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # who withdrew is in no freed page
        connection.executescript(SCHEMA)
        return cls(connection, tally)

    def close(self) -> None:
        self._connection.close()

    def answer(self, asked: Canonical, epoch: str) -> Exact | Unsafe:
        """Replay this epoch's table; else count it, hide what must be, store it, and give it."""
        with self._lock:
            given = self._given(epoch)
            if (table := given.get(asked.digest)) is None:
                people = self._people(epoch)
                if isinstance(people, Unsafe):
                    return people
                found = protect(Table(asked, cells_of(asked, people)), list(given.values()))
                if isinstance(found, Unsafe):
                    return found
                table = found
                self._connection.execute(GIVE, (asked.digest, epoch, _written(table)))
            shown = frozenset(table.shown)
            return Exact({c: n if c in shown else None for c, n in table.counts.items()}, epoch)

    def outdate(self, epoch: str) -> None:
        """Give nothing new in this epoch: after a restore, what was given of it is not known."""
        with self._lock:
            self._connection.execute(OUTDATE, (epoch,))

    def _people(self, epoch: str) -> People | Unsafe:
        """Return the epoch's snapshot, made at its first question; nobody who withdrew stays in it.

        Two tables on either side of a withdrawal would differ by one person: there is no second
        snapshot in an epoch, and no new table once the first one may not be used.
        """
        withdrawn = sha256("\n".join(self._tally.withdrawn()).encode()).digest()
        row = self._connection.execute(SNAPSHOT, (epoch,)).fetchone()
        if row is None:
            people = Counter(atoms_of(words) for words in self._tally.principals(tuple(FIELDS)))
            body = json.dumps([[list(atoms), n] for atoms, n in people.items()])
            self._connection.execute(FORGET, (epoch, epoch))
            self._connection.execute(FREEZE, (epoch, body, withdrawn))
            return people
        if row[1] != withdrawn or not row[0]:
            self._connection.execute(FORGET, (epoch, epoch))
            return Unsafe("snapshot_outdated")
        return {tuple(atoms): n for atoms, n in json.loads(row[0])}

    def _given(self, epoch: str) -> dict[bytes, Table]:
        rows = self._connection.execute(GIVEN, (epoch,)).fetchall()
        return {question: _read(body) for question, body in rows}


def _written(table: Table) -> str:
    asked = table.asked
    return json.dumps(
        {
            "where": {c.field: sorted(c.atoms) for c in asked.where},
            "group_by": list(asked.group_by),
            "cells": [[list(cell), n, cell in table.hidden] for cell, n in table.counts.items()],
        }
    )


def _read(body: str) -> Table:
    told = json.loads(body)
    where = tuple(Condition(name, frozenset(atoms)) for name, atoms in told["where"].items())
    asked = Canonical(Unit.PATIENTS, where, tuple(told["group_by"]))
    counts = {tuple(cell): n for cell, n, _ in told["cells"]}
    return Table(
        asked, counts, frozenset(tuple(cell) for cell, _, hidden in told["cells"] if hidden)
    )
