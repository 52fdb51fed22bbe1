"""The audit trail's rows in an SQLite file of their own, with room kept for a full disk."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from coordinator.errors import EnvironmentFault
from protos.digest import GENESIS, chain_link

CREATE = """
    CREATE TABLE IF NOT EXISTS audit (
        number INTEGER PRIMARY KEY,
        body   BLOB NOT NULL,
        link   BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS audit_base (  -- where the trail begins, once it was pruned
        number INTEGER PRIMARY KEY,
        link   BLOB NOT NULL
    ) STRICT;
"""
APPEND = "INSERT INTO audit (number, body, link) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
LAST = """
    SELECT number, link FROM audit UNION ALL SELECT number, link FROM audit_base
    ORDER BY number DESC LIMIT 1
"""
BASE = "SELECT number, link FROM audit_base ORDER BY number DESC LIMIT 1"
AFTER = "SELECT number, body, link FROM audit WHERE number > ? ORDER BY number LIMIT ?"
PRUNE = "DELETE FROM audit WHERE number <= ?"
REBASE = "INSERT INTO audit_base SELECT number, link FROM audit WHERE number = ?"
FORGET_BASE = "DELETE FROM audit_base WHERE number < ?"
WAIT_SECONDS = 30.0
RESERVE_BYTES = 256 << 10  # room for some hundred events on a disk that is full
ROOM_FOR_RESERVE = 16 * RESERVE_BYTES


class FileRows:
    """Appended to by the coordinator; a command may prune beside it."""

    def __init__(self, path: Path) -> None:
        self._reserve = path.with_suffix(".reserve")
        try:
            self._connection = sqlite3.connect(
                path, timeout=WAIT_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(CREATE)
        except sqlite3.Error as fault:
            raise EnvironmentFault(f"{path} cannot be opened: {fault}") from fault
        _set_aside(self._reserve)

    def base(self) -> tuple[int, bytes] | None:
        found: tuple[int, bytes] | None = self._connection.execute(BASE).fetchone()
        return found

    def last(self) -> tuple[int, bytes] | None:
        found: tuple[int, bytes] | None = self._connection.execute(LAST).fetchone()
        return found

    def after(self, number: int, at_most: int) -> Sequence[tuple[int, bytes, bytes]]:
        return self._connection.execute(AFTER, (number, at_most)).fetchall()

    def append(self, number: int, body: bytes, link: bytes) -> bool:
        """Append an entry; False where another process has taken its number."""
        try:
            return self._append(number, body, link)
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._release_reserve():
                raise
            return self._append(number, body, link)

    def prune(self, number: int, told: bytes) -> int:
        """Forget the entries up to one, and append the event that tells so, in one step."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            at, link = self.last() or (0, GENESIS)
            self._connection.execute(APPEND, (at + 1, told, chain_link(link, told)))
            self._connection.execute(REBASE, (number,))
            self._connection.execute(FORGET_BASE, (number,))
            return self._connection.execute(PRUNE, (number,)).rowcount

    def close(self) -> None:
        self._connection.close()

    def _append(self, number: int, body: bytes, link: bytes) -> bool:
        return self._connection.execute(APPEND, (number, body, link)).rowcount == 1

    def _release_reserve(self) -> bool:
        """Give the room that was set aside to what must be told; False where it is gone."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        # A log of 4 KiB an entry would use it up in no time: fold it often.
        self._connection.execute("PRAGMA wal_autocheckpoint = 16")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True


def _set_aside(reserve: Path) -> None:
    """Keep some room for the audit of a full disk; a disk that is full already waits."""
    found = os.statvfs(reserve.parent)
    if reserve.exists() or found.f_bavail * found.f_frsize < ROOM_FOR_RESERVE:
        return
    with suppress(OSError):
        descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)
