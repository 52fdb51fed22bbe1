"""The register of decisions about patients: pseudonyms only, durable, and outside the index.

The index is rebuilt from the files, and no file knows these decisions: so they rest here
(`patients.db`, one row for each, only ever appended), and the index keeps a copy. A row keeps the
pseudonyms it was written with; it is read under the newest, and its older names stand as they do,
for as long as files still carry them.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from gateway.deid.uids import renamed
from gateway.errors import EnvironmentFault, IntegrityFault
from gateway.model import Pseudonym
from gateway.store.standing import Decision, Kind, Standing, check, standings

SCHEMA = """
    CREATE TABLE IF NOT EXISTS decision (
        number    INTEGER PRIMARY KEY,
        at        TEXT NOT NULL,
        kind      TEXT NOT NULL CHECK (kind IN ('merged', 'separated', 'withdrawn', 'readmitted')),
        pseudonym TEXT NOT NULL,
        other     TEXT,
        version   INTEGER NOT NULL DEFAULT 1
    ) STRICT
"""
COLUMNS = "SELECT name FROM pragma_table_info('decision')"
ADD_VERSION = "ALTER TABLE decision ADD COLUMN version INTEGER NOT NULL DEFAULT 1"
DECISIONS = "SELECT kind, pseudonym, other, version FROM decision ORDER BY number"
DECIDE = "INSERT INTO decision (at, kind, pseudonym, other, version) VALUES (?, ?, ?, ?, ?)"


class Register:
    """Read by whoever writes the index; appended to by the data steward's commands."""

    def __init__(self, connection: sqlite3.Connection, keys: tuple[bytes, ...] = ()) -> None:
        """Take the versions of the pseudonym key; without them, pseudonyms stay as written."""
        self._connection = connection
        self._keys = keys
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, keys: tuple[bytes, ...] = ()) -> "Register":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            connection = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(SCHEMA)
            _migrate(connection)
        except sqlite3.OperationalError as fault:
            raise EnvironmentFault(f"{path} cannot be opened: {fault}") from fault
        except sqlite3.DatabaseError as fault:
            raise IntegrityFault(f"{path} is damaged: restore it from a backup") from fault
        return cls(connection, keys)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def standings(self) -> Mapping[Pseudonym, Standing]:
        """Return the standing of everybody decided about, under every name they ever had."""
        with self._lock:
            found = dict(standings(self._decisions()))
            for old, newest in self._older_names():
                found[old] = found[newest]
        return found

    def decided(self) -> Mapping[Pseudonym, Standing]:
        """Return the same under today's names alone."""
        with self._lock:
            return standings(self._decisions())

    def first_names(self) -> Mapping[Pseudonym, Pseudonym]:
        """Return whom a decision named before any rotation: today's name, and that one."""
        with self._lock:
            rows = self._connection.execute(DECISIONS).fetchall()
        return {
            renamed(name, self._keys[1:]): name
            for _, pseudonym, other, version in rows
            for name in filter(None, (pseudonym, other))
            if version == 1
        }

    def decide(self, new: Decision, witness: Callable[[], None]) -> bool:
        """Append a decision durably, witnessed before it stands; False if it changes nothing."""
        at = datetime.now(UTC).isoformat()
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if changes := check(self._decisions(), new):
                    version = max(1, len(self._keys))
                    row = (at, new.kind, new.pseudonym, new.other, version)
                    self._connection.execute(DECIDE, row)
                    witness()
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        return changes

    def _decisions(self) -> list[Decision]:
        return [
            Decision(
                Kind(kind),
                renamed(pseudonym, self._keys[version:]),
                None if other is None else renamed(other, self._keys[version:]),
            )
            for kind, pseudonym, other, version in self._connection.execute(DECISIONS)
        ]

    def _older_names(self) -> Iterator[tuple[Pseudonym, Pseudonym]]:
        """Yield the names that somebody decided about had before, each with the newest."""
        for _, pseudonym, other, version in self._connection.execute(DECISIONS).fetchall():
            for name in filter(None, (pseudonym, other)):
                newest = renamed(name, self._keys[version:])
                for until in range(version, len(self._keys)):
                    yield renamed(name, self._keys[version:until]), newest


def _migrate(connection: sqlite3.Connection) -> None:
    """Give a register of before the column of versions; two that open it together both may try."""
    if "version" not in {name for (name,) in connection.execute(COLUMNS)}:
        with suppress(sqlite3.OperationalError):
            connection.execute(ADD_VERSION)
