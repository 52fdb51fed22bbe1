"""Secure sums under way: what this hospital drew, was told and signed, each before it is said."""

import sqlite3
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any


class SumStage(StrEnum):
    ENTERED = "entered"
    DEALT = "dealt"
    MASKED = "masked"
    CONSENTED = "consented"
    UNMASKED = "unmasked"
    ENDED = "ended"


NEXT: dict[SumStage, frozenset[SumStage]] = {
    SumStage.ENTERED: frozenset({SumStage.DEALT, SumStage.ENDED}),
    SumStage.DEALT: frozenset({SumStage.MASKED, SumStage.ENDED}),
    SumStage.MASKED: frozenset({SumStage.CONSENTED, SumStage.ENDED}),
    SumStage.CONSENTED: frozenset({SumStage.UNMASKED, SumStage.ENDED}),
    SumStage.UNMASKED: frozenset(),
    SumStage.ENDED: frozenset(),
}
OVER = (SumStage.UNMASKED, SumStage.ENDED)
# A round of a job is summed once: whoever hands it out again under another name finds it here.
SCHEMA = """
    CREATE TABLE IF NOT EXISTS session (
        task_id     TEXT PRIMARY KEY,
        job_id      TEXT NOT NULL,
        round       INTEGER NOT NULL,
        bundle      BLOB NOT NULL,
        weights     BLOB NOT NULL,
        bits        INTEGER NOT NULL,  -- of the grid
        numbers     INTEGER NOT NULL,  -- of the update, before the counts
        secrets     BLOB NOT NULL,     -- empty once the sum is over
        keys        BLOB NOT NULL,     -- radfed.v1.SumKeys
        outcome     BLOB NOT NULL,     -- radfed.v1.TaskOutcome, without the update's digest
        approved_by TEXT NOT NULL,
        stage       TEXT NOT NULL,
        roster      BLOB NOT NULL,     -- radfed.v1.SumRoster
        dealt       BLOB NOT NULL,     -- radfed.v1.SumShares, sealed
        held        BLOB NOT NULL,     -- radfed.v1.SumShares, sealed; empty once the sum is over
        survivors   BLOB NOT NULL,     -- radfed.v1.SumSurvivors
        rule        TEXT NOT NULL,     -- why it ended
        UNIQUE (job_id, round)
    ) STRICT;
"""
ENTER = f"INSERT INTO session VALUES ({', '.join('?' * 17)}) ON CONFLICT DO NOTHING"  # noqa: S608 - marks alone
ONE = "SELECT * FROM session WHERE task_id = ?"
OF_ROUND = "SELECT * FROM session WHERE job_id = ? AND round = ?"
ALL = "SELECT * FROM session ORDER BY rowid"
OPEN = "SELECT * FROM session WHERE stage NOT IN ('unmasked', 'ended') ORDER BY rowid"
MOVE = """
    UPDATE session SET stage = ?, roster = ?, dealt = ?, held = ?, survivors = ?, rule = ?,
        secrets = ? WHERE task_id = ? AND stage = ?
"""


@dataclass(frozen=True, slots=True)
class Session:
    task_id: str
    job_id: str
    round: int
    bundle: bytes
    weights: bytes
    bits: int
    numbers: int
    secrets: bytes
    keys: bytes
    outcome: bytes
    approved_by: str
    stage: SumStage = SumStage.ENTERED
    roster: bytes = b""
    dealt: bytes = b""
    held: bytes = b""
    survivors: bytes = b""
    rule: str = ""

    def __repr__(self) -> str:
        return f"Session({self.task_id}, {self.stage})"


class SumBook:
    """One SQLite file; what a sum is over for is overwritten in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path) -> "SumBook":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.executescript(SCHEMA)
        return cls(connection)

    def close(self) -> None:
        self._connection.close()

    def enter(self, session: Session) -> Session:
        """Keep a new session; where the task has one already, that one stands."""
        with self._lock:
            self._connection.execute(ENTER, astuple(session))
            return self._sessions(OF_ROUND, (session.job_id, session.round))[0]

    def find(self, task_id: str) -> Session | None:
        with self._lock:
            return next(iter(self._sessions(ONE, (task_id,))), None)

    def of_round(self, job_id: str, number: int) -> Session | None:
        with self._lock:
            return next(iter(self._sessions(OF_ROUND, (job_id, number))), None)

    def all(self) -> list[Session]:
        with self._lock:
            return self._sessions(ALL, ())

    def open_sessions(self) -> list[Session]:
        with self._lock:
            return self._sessions(OPEN, ())

    def move(self, session: Session, here: SumStage) -> bool:
        """Write a session's next stage; False where somebody was quicker."""
        assert session.stage in NEXT[here]
        secrets, held = (b"", b"") if session.stage in OVER else (session.secrets, session.held)
        values = (
            session.stage, session.roster, session.dealt, held, session.survivors, session.rule,
            secrets, session.task_id, here,
        )  # fmt: skip
        with self._lock:
            moved = self._connection.execute(MOVE, values).rowcount > 0
            if session.stage in OVER:  # the log still has what was overwritten
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return moved

    def _sessions(self, sql: str, values: tuple[object, ...]) -> list[Session]:
        rows = self._connection.execute(sql, values).fetchall()
        return [_session(row) for row in rows]


def _session(row: tuple[Any, ...]) -> Session:
    read = Session(*row)
    return replace(read, stage=SumStage(read.stage))
