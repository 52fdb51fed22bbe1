"""The desk's memory: questions, jobs, tasks and reports, each step durable before the next."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

from gateway.desk.rules import NEXT, NEXT_TASK, JobStage, QuestionStage, TaskStage
from gateway.errors import ExitCode, GatewayError

SCHEMA = """
    CREATE TABLE IF NOT EXISTS question (
        question_id TEXT PRIMARY KEY,
        body        BLOB NOT NULL,  -- radfed.v1.Question
        stage       TEXT NOT NULL,
        taken_at    TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS nonce (
        public_key  BLOB NOT NULL,
        nonce       BLOB NOT NULL,
        question_id TEXT NOT NULL,  -- which may ask again after a crash
        expires_at  TEXT NOT NULL,  -- the signature's end: after it the nonce is forgotten
        PRIMARY KEY (public_key, nonce)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS job (
        job_id      TEXT PRIMARY KEY,
        offer       BLOB NOT NULL,  -- radfed.v1.JobOffer
        stage       TEXT NOT NULL,
        vendor      TEXT NOT NULL,  -- as the policy calls it
        rule        TEXT NOT NULL,  -- why it was refused
        approved_by TEXT NOT NULL,
        reason      TEXT NOT NULL,  -- the steward's own words: they stay here
        weight      REAL,           -- noisy patients, once paid for
        taken_at    TEXT NOT NULL,
        decided_at  TEXT
    ) STRICT;
    CREATE TABLE IF NOT EXISTS task (
        task_id  TEXT PRIMARY KEY,
        job_id   TEXT NOT NULL,
        round    INTEGER NOT NULL,
        body     BLOB NOT NULL,  -- radfed.v1.RoundTask
        stage    TEXT NOT NULL,
        code     TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        taken_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS transcript (
        job_id TEXT NOT NULL,
        round  INTEGER NOT NULL,
        body   BLOB NOT NULL,  -- radfed.v1.RoundTranscript: the coordinator's signed word
        PRIMARY KEY (job_id, round)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS report (
        sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
        report_id   TEXT NOT NULL UNIQUE,
        kind        TEXT NOT NULL,   -- answer | decision | outcome
        subject     TEXT NOT NULL,   -- question, job or task
        body        BLOB NOT NULL,   -- radfed.v1.Answer, JobDecision or TaskOutcome
        approved_by TEXT NOT NULL,
        settled     INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS report_unsettled ON report (settled, sequence);
    CREATE INDEX IF NOT EXISTS job_stage ON job (stage);
    CREATE INDEX IF NOT EXISTS task_open ON task (stage, taken_at);
"""
TAKE_QUESTION = "INSERT INTO question VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
QUESTIONS = "SELECT question_id, body FROM question WHERE stage = ? ORDER BY rowid LIMIT 100"
MOVE_QUESTION = "UPDATE question SET stage = ? WHERE question_id = ?"
SPEND_NONCE = "INSERT INTO nonce VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
SPENT_ON = "SELECT question_id FROM nonce WHERE public_key = ? AND nonce = ?"
FORGET_NONCES = "DELETE FROM nonce WHERE expires_at < ?"
TAKE_JOB = "INSERT INTO job VALUES (?, ?, ?, ?, '', '', '', NULL, ?, NULL) ON CONFLICT DO NOTHING"
JOB = "SELECT * FROM job WHERE job_id = ?"
JOBS = "SELECT * FROM job ORDER BY rowid"
JOBS_AT = "SELECT * FROM job WHERE stage = ? ORDER BY rowid"
DECIDE_JOB = """
    UPDATE job SET stage = ?, rule = ?, approved_by = ?, reason = ?, decided_at = ?
    WHERE job_id = ?
"""
WEIGH_JOB = "UPDATE job SET weight = ? WHERE job_id = ?"
TAKE_TASK = "INSERT INTO task VALUES (?, ?, ?, ?, ?, '', 0, ?) ON CONFLICT DO NOTHING"
TASK = "SELECT * FROM task WHERE task_id = ?"
PUT_OFF = "UPDATE task SET body = ? WHERE task_id = ? AND stage IN ('taken', 'running', 'summing')"
OPEN = "SELECT * FROM task WHERE stage IN ('taken', 'running') ORDER BY rowid"
SUMMING = "SELECT * FROM task WHERE stage = 'summing' ORDER BY rowid"
TASKS_OF = "SELECT * FROM task WHERE job_id = ? ORDER BY round"
MOVE_TASK = "UPDATE task SET stage = ?, code = ?, attempts = attempts + ? WHERE task_id = ?"
KEEP_TRANSCRIPT = "INSERT INTO transcript VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
TRANSCRIPTS = "SELECT body FROM transcript WHERE job_id = ? ORDER BY round"
SUPERSEDE = "UPDATE report SET settled = 1 WHERE kind = ? AND subject = ? AND settled = 0"
REPORT = "INSERT INTO report VALUES (NULL, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING"
OUTBOX = """
    SELECT report_id, kind, subject, body, approved_by FROM report
    WHERE settled = 0 ORDER BY sequence LIMIT 1000
"""
LAST_REPORT = """
    SELECT body FROM report WHERE kind = ? AND subject = ? ORDER BY sequence DESC LIMIT 1
"""
SETTLE = "UPDATE report SET settled = 1 WHERE report_id = ?"
REPEAT = """
    UPDATE report SET settled = 0 WHERE sequence =
        (SELECT max(sequence) FROM report WHERE kind = ? AND subject = ?)
"""


class IllegalMove(GatewayError):
    def __init__(self, what: str, here: str, there: str) -> None:
        super().__init__(f"{what} is {here} and cannot become {there}")


class UnknownJob(GatewayError):
    exit_code = ExitCode.CONFIGURATION  # as for any other name that is not there

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id}: see `radfed gateway approvals ls`")


@dataclass(frozen=True, slots=True)
class Report:
    """Something the coordinator must learn, until it has settled it."""

    report_id: str
    kind: str
    subject: str
    body: bytes
    approved_by: str


@dataclass(frozen=True, slots=True)
class JobRow:
    job_id: str
    offer: bytes
    stage: JobStage
    vendor: str
    rule: str
    approved_by: str
    reason: str
    weight: float | None
    taken_at: str
    decided_at: str | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    task_id: str
    job_id: str
    round: int
    body: bytes
    stage: TaskStage
    code: str
    attempts: int
    taken_at: str


class Book:
    """One SQLite file; a steward's command and the running gateway may both write."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._now = now
        self._lock = RLock()

    @classmethod
    def open(cls, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "Book":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        return cls(connection, now)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Questions

    def take_question(self, question_id: str, body: bytes) -> bool:
        """Return whether the question is new."""
        with self._transaction() as write:
            row = (question_id, body, QuestionStage.TAKEN, self._at())
            return write.execute(TAKE_QUESTION, row).rowcount > 0

    def questions(self) -> list[tuple[str, bytes]]:
        return self._read(QUESTIONS, (QuestionStage.TAKEN,))

    def close_question(self, question_id: str, stage: QuestionStage, report: Report | None) -> None:
        with self._transaction() as write:
            if report is not None:
                write.execute(REPORT, _report_row(report))
            write.execute(MOVE_QUESTION, (stage, question_id))

    def spend_nonce(
        self, public_key: bytes, nonce: bytes, question_id: str, until: datetime, now: datetime
    ) -> bool:
        """Say whether a nonce is this question's; the first question to bring it has it."""
        with self._transaction() as write:
            write.execute(FORGET_NONCES, (now.isoformat(),))
            write.execute(SPEND_NONCE, (public_key, nonce, question_id, until.isoformat()))
            (whose,) = write.execute(SPENT_ON, (public_key, nonce)).fetchone()
            return bool(whose == question_id)

    # Jobs

    def take_job(self, job_id: str, offer: bytes, vendor: str) -> bool:
        with self._transaction() as write:
            row = (job_id, offer, JobStage.OFFERED, vendor, self._at())
            return write.execute(TAKE_JOB, row).rowcount > 0

    def job(self, job_id: str) -> JobRow | None:
        return next(map(_job, self._read(JOB, (job_id,))), None)

    def jobs(self) -> list[JobRow]:
        return [_job(row) for row in self._read(JOBS)]

    def jobs_at(self, *stages: JobStage) -> list[JobRow]:
        return [_job(row) for stage in stages for row in self._read(JOBS_AT, (stage,))]

    def decide(
        self,
        job_id: str,
        stage: JobStage,
        report: Report | None = None,
        rule: str = "",
        by: str = "",
        reason: str = "",
    ) -> None:
        """Move a job along its lifecycle, its report in the same transaction."""
        with self._transaction() as write:
            row = write.execute(JOB, (job_id,)).fetchone()
            if row is None:
                raise UnknownJob(job_id)
            job = _job(row)
            if stage not in NEXT[job.stage]:
                raise IllegalMove(f"job {job_id}", job.stage, stage)
            write.execute(DECIDE_JOB, (stage, rule, by, reason, self._at(), job_id))
            if report is not None:
                write.execute(SUPERSEDE, (report.kind, report.subject))
                write.execute(REPORT, _report_row(report))

    def weigh(self, job_id: str, weight: float) -> None:
        with self._transaction() as write:
            write.execute(WEIGH_JOB, (weight, job_id))

    # Tasks

    def take_task(self, task_id: str, job_id: str, number: int, body: bytes) -> bool:
        with self._transaction() as write:
            row = (task_id, job_id, number, body, TaskStage.TAKEN, self._at())
            return write.execute(TAKE_TASK, row).rowcount > 0

    def put_off(self, task_id: str, body: bytes) -> None:
        """Replace an open task's terms; one that has ended stays as it ended."""
        with self._transaction() as write:
            write.execute(PUT_OFF, (body, task_id))

    def task(self, task_id: str) -> TaskRow | None:
        return next(map(_task, self._read(TASK, (task_id,))), None)

    def open_tasks(self) -> list[TaskRow]:
        return [_task(row) for row in self._read(OPEN)]

    def summing_tasks(self) -> list[TaskRow]:
        return [_task(row) for row in self._read(SUMMING)]

    def tasks_of(self, job_id: str) -> list[TaskRow]:
        return [_task(row) for row in self._read(TASKS_OF, (job_id,))]

    def move_task(self, task_id: str, stage: TaskStage, report: Report, code: str = "") -> None:
        """Move a task along its lifecycle; its newest report supersedes the earlier ones."""
        with self._transaction() as write:
            task = _task(write.execute(TASK, (task_id,)).fetchone())
            if stage not in NEXT_TASK[task.stage]:
                raise IllegalMove(f"task {task_id}", task.stage, stage)
            started = int(stage is TaskStage.RUNNING)
            write.execute(MOVE_TASK, (stage, code, started, task_id))
            write.execute(SUPERSEDE, (report.kind, report.subject))
            write.execute(REPORT, _report_row(report))

    def keep_transcripts(self, job_id: str, told: list[tuple[int, bytes]]) -> None:
        """Keep the word on rounds; the first word on a round stays."""
        with self._transaction() as write:
            write.executemany(KEEP_TRANSCRIPT, [(job_id, *each) for each in told])

    def transcripts(self, job_id: str) -> list[bytes]:
        return [body for (body,) in self._read(TRANSCRIPTS, (job_id,))]

    # Reports

    def outbox(self) -> list[Report]:
        return [Report(*row) for row in self._read(OUTBOX)]

    def last_report(self, kind: str, subject: str) -> bytes | None:
        """Return what was last said of something, settled or not."""
        return next((body for (body,) in self._read(LAST_REPORT, (kind, subject))), None)

    def report(self, report: Report) -> None:
        with self._transaction() as write:
            write.execute(REPORT, _report_row(report))

    def settle(self, report_id: str) -> None:
        with self._transaction() as write:
            write.execute(SETTLE, (report_id,))

    def repeat(self, kind: str, subject: str) -> None:
        """Send the newest report once more: the coordinator asks again, so it does not know."""
        with self._transaction() as write:
            write.execute(REPEAT, (kind, subject))

    def _read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

    def _at(self) -> str:
        return self._now().isoformat()


def _job(row: tuple[Any, ...]) -> JobRow:
    job_id, offer, stage, *rest = row
    return JobRow(job_id, offer, JobStage(stage), *rest)


def _task(row: tuple[Any, ...]) -> TaskRow:
    task_id, job_id, number, body, stage, *rest = row
    return TaskRow(task_id, job_id, number, body, TaskStage(stage), *rest)


def _report_row(report: Report) -> tuple[str, str, str, bytes, str]:
    return (report.report_id, report.kind, report.subject, report.body, report.approved_by)
