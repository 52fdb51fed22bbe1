"""Whether a book was put back from a backup, and what was spent since is not known yet."""

import sqlite3
from datetime import datetime

SCHEMA = """
    CREATE TABLE IF NOT EXISTS restored (  -- one row for each time a backup was put in place
        at         TEXT NOT NULL,
        reconciled TEXT  -- by what; NULL: nothing may be spent yet
    ) STRICT;
"""
RESTORED = "INSERT INTO restored VALUES (?, NULL)"
WAITS = "SELECT max(at) FROM restored WHERE reconciled IS NULL"
RECONCILED = "UPDATE restored SET reconciled = ? WHERE reconciled IS NULL"


class Restorations:
    """Of one book; whoever owns the connection holds its lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(SCHEMA)

    def put_back(self, at: datetime) -> None:
        """Say that this is a backup: nothing is spent until it is known what was spent since."""
        if self.waiting_since() is None:
            self._connection.execute(RESTORED, (at.isoformat(),))

    def waiting_since(self) -> datetime | None:
        (at,) = self._connection.execute(WAITS).fetchone()
        return None if at is None else datetime.fromisoformat(at)

    def reconciled(self, by: str) -> None:
        self._connection.execute(RECONCILED, (by,))
