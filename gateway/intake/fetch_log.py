"""What was fetched already, so that a back-fill goes on where it was killed.

`data/fetch.db` holds keyed hashes: nobody without the site secret can tell which study a line is
about, and nothing in it comes from a patient.

    study   key (HMAC of Study Instance UID and selection), instances the PACS counted then, or NULL
    series  key (HMAC of Series Instance UID), instances the PACS counted then, or NULL
"""

import hmac
import os
import sqlite3
from pathlib import Path
from typing import Final, Self

from gateway.model import RealUID

OWNER_ONLY: Final = 0o600
TABLES: Final = """
    CREATE TABLE IF NOT EXISTS study (key BLOB PRIMARY KEY, instances INTEGER)
        STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS series (key BLOB PRIMARY KEY, instances INTEGER)
        STRICT, WITHOUT ROWID;
"""
FIND_STUDY: Final = "SELECT instances FROM study WHERE key = ?"
FIND_SERIES: Final = "SELECT instances FROM series WHERE key = ?"
NOTE_STUDY: Final = "INSERT OR REPLACE INTO study (key, instances) VALUES (?, ?)"
NOTE_SERIES: Final = "INSERT OR REPLACE INTO series (key, instances) VALUES (?, ?)"


class FetchLog:
    """Written after the last instance of a series or study is in custody, never before."""

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key

    @classmethod
    def open(cls, path: Path, key: bytes) -> Self:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(TABLES)
        return cls(connection, key)

    def close(self) -> None:
        self._connection.close()

    def has_study(self, uid: RealUID, selection: str, instances: int | None) -> bool:
        """Say whether this selection of the study is here, and has not grown since."""
        return self._has(FIND_STUDY, self._study(uid, selection), instances)

    def has_series(self, uid: RealUID, instances: int | None) -> bool:
        return self._has(FIND_SERIES, self._series(uid), instances)

    def note_study(self, uid: RealUID, selection: str, instances: int | None) -> None:
        self._connection.execute(NOTE_STUDY, (self._study(uid, selection), instances))

    def note_series(self, uid: RealUID, instances: int | None) -> None:
        self._connection.execute(NOTE_SERIES, (self._series(uid), instances))

    def _has(self, question: str, key: bytes, instances: int | None) -> bool:
        found = self._connection.execute(question, (key,)).fetchone()
        return found is not None and (instances is None or found[0] in (None, instances))

    def _study(self, uid: RealUID, selection: str) -> bytes:
        return self._hash(f"study\0{uid}\0{selection}")

    def _series(self, uid: RealUID) -> bytes:
        return self._hash(f"series\0{uid}")

    def _hash(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8"), "sha256")
