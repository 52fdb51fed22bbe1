"""Which version of the noise key draws: kept beside the charges, so that no backup parts them."""

import sqlite3
from datetime import datetime

SCHEMA_OF_TURNS = """
    CREATE TABLE IF NOT EXISTS turned (  -- one row for each time the noise key was turned
        version INTEGER PRIMARY KEY,     -- that draws from then on; before the first, 1
        at      TEXT NOT NULL,
        by      TEXT NOT NULL,
        is_told INTEGER NOT NULL DEFAULT 0  -- on the audit trail
    ) STRICT;
"""
NEWEST = "SELECT coalesce(max(version), 1) FROM turned"
TURN = """
    INSERT INTO turned SELECT version + 1, ?, ?, 0
    FROM (SELECT coalesce(max(version), 1) AS version FROM turned)
    WHERE NOT EXISTS (SELECT 1 FROM turned WHERE is_told = 0)
"""
UNTOLD = "SELECT version, by FROM turned WHERE is_told = 0 ORDER BY version DESC LIMIT 1"
TELL = "UPDATE turned SET is_told = 1 WHERE version = ?"


class Turns:
    """The noise key's versions: the newest draws what is new, and nothing is drawn again.

    A turned key must never give a second draw of a question in its epoch: two noises over one
    count average out. None can come of it, for an answer leaves only as it is stored, and what
    is stored is neither changed nor removed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def newest(self) -> int:
        return int(self._connection.execute(NEWEST).fetchone()[0])

    def turn(self, at: datetime, by: str) -> tuple[int, str]:
        """Let the next version draw from now on, in every process; return it, and who turned it.

        A turn that is not on the audit trail yet, for a stop came between, is gone on with.
        """
        self._connection.execute(TURN, (at.isoformat(), by))
        version, who = self._connection.execute(UNTOLD).fetchone()
        return int(version), str(who)

    def tell(self, version: int) -> None:
        self._connection.execute(TELL, (version,))
