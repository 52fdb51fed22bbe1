"""Accounts in one SQLite file of this machine."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

SCHEMA = """
    CREATE TABLE IF NOT EXISTS account (
        name      TEXT PRIMARY KEY COLLATE NOCASE,
        role      TEXT NOT NULL,
        salt      BLOB NOT NULL,
        digest    BLOB NOT NULL,  -- scrypt
        secret    BLOB NOT NULL,  -- TOTP
        last_step INTEGER NOT NULL,  -- a code counts once
        made_at   REAL NOT NULL,
        organisation TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE IF NOT EXISTS invitation (
        token   BLOB PRIMARY KEY,  -- SHA-256: the link itself is nowhere
        role    TEXT NOT NULL,
        secret  BLOB NOT NULL,
        by      TEXT NOT NULL,
        expires REAL NOT NULL,
        name    TEXT NOT NULL DEFAULT '',  -- whom it is for, where the house says so
        organisation TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE IF NOT EXISTS failure (who TEXT NOT NULL, at REAL NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS failure_who ON failure (who, at);
    CREATE TABLE IF NOT EXISTS consent (  -- a first steward's, where two must agree
        job_id TEXT NOT NULL,
        bundle TEXT NOT NULL,
        name   TEXT NOT NULL COLLATE NOCASE,
        at     REAL NOT NULL,
        PRIMARY KEY (job_id, bundle, name)
    ) STRICT;
"""
LATER = (  # columns that files of earlier versions lack
    ("account", "organisation"), ("invitation", "name"), ("invitation", "organisation"),
)  # fmt: skip
COLUMNS = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"


class AccountFile:
    """One connection, in turns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():  # to open and close one in use would drop its locks (POSIX fcntl)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)  # SQLite's companions take the file's own mode
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        for table, column in LATER:
            if connection.execute(COLUMNS, (table, column)).fetchone() is None:
                connection.execute(
                    f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"
                )
        self._connection = connection
        self._lock = Lock()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql.format(""), values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator["_Turn"]:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield _Turn(self._connection)


class _Turn:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.format(""), values).fetchall()

    def write(self, sql: str, values: tuple[object, ...]) -> int:
        return self._connection.execute(sql.format(""), values).rowcount
