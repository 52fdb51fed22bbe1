"""The register of decisions about patients: pseudonyms only, durable, and outside the index.

The index is rebuilt from the files, and no file knows these decisions: so they rest here
(`patients.db`, one row for each, only ever appended), and the index keeps a copy.
"""

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from gateway.errors import EnvironmentFault, IntegrityFault
from gateway.model import Pseudonym
from gateway.store.standing import Decision, Kind, Standing, check, standings

SCHEMA = """
    CREATE TABLE IF NOT EXISTS decision (
        number    INTEGER PRIMARY KEY,
        at        TEXT NOT NULL,
        kind      TEXT NOT NULL CHECK (kind IN ('merged', 'separated', 'withdrawn', 'readmitted')),
        pseudonym TEXT NOT NULL,
        other     TEXT
    ) STRICT
"""
DECISIONS = "SELECT kind, pseudonym, other FROM decision ORDER BY number"
DECIDE = "INSERT INTO decision (at, kind, pseudonym, other) VALUES (?, ?, ?, ?)"


class Register:
    """Read by whoever writes the index; appended to by the data steward's commands."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path) -> "Register":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            connection = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(SCHEMA)
        except sqlite3.OperationalError as fault:
            raise EnvironmentFault(f"{path} cannot be opened: {fault}") from fault
        except sqlite3.DatabaseError as fault:
            raise IntegrityFault(f"{path} is damaged: restore it from a backup") from fault
        return cls(connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def standings(self) -> Mapping[Pseudonym, Standing]:
        """Return the standing of everybody about whom something was decided."""
        with self._lock:
            return standings(self._decisions())

    def decide(self, new: Decision, witness: Callable[[], None]) -> bool:
        """Append a decision durably, witnessed before it stands; False if it changes nothing."""
        at = datetime.now(UTC).isoformat()
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if changes := check(self._decisions(), new):
                    self._connection.execute(DECIDE, (at, new.kind, new.pseudonym, new.other))
                    witness()
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        return changes

    def _decisions(self) -> list[Decision]:
        rows = self._connection.execute(DECISIONS).fetchall()
        return [Decision(Kind(kind), pseudonym, other) for kind, pseudonym, other in rows]
