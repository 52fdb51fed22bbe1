"""The SQL of secure sums: what hospitals said at each step, and what was fixed of it for all."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    select,
    update,
)

from coordinator.model import OVER
from coordinator.store.database import Database
from coordinator.store.tables import job, metadata, round_, task
from protos.v1.sum_pb2 import SumReport, SumRoster, SumTranscript

sum_step = Table(
    "sum_step",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("step", String(16), primary_key=True),
    Column("body", LargeBinary, nullable=False),  # radfed.v1.SumReport
    Column("said_at", Double, nullable=False),
)

sum_round = Table(
    "sum_round",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("roster", LargeBinary, nullable=False),  # radfed.v1.SumRoster
    Column("dealers", LargeBinary),  # whose shares were handed on, by name
    Column("transcript", LargeBinary),  # radfed.v1.SumTranscript
    Column("transcript_at", Double),
    ForeignKeyConstraint(["job_id", "number"], ["round.job_id", "round.number"]),
)


@dataclass(frozen=True, slots=True)
class SumRound:
    """What is fixed of one round's sum."""

    roster: SumRoster
    dealers: tuple[str, ...] | None = None
    transcript: SumTranscript | None = None
    transcript_at: float | None = None


class SecureSums:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def say(self, report: SumReport, now: float) -> bool:
        """Keep a hospital's step; the first of each kind stays. False where it was known."""
        values = {
            "task_id": report.task_id,
            "step": report.WhichOneof("step"),
            "body": report.SerializeToString(deterministic=True),
            "said_at": now,
        }
        async with self._database.writing() as connection:
            kept = self._database.upsert(sum_step).values(**values).on_conflict_do_nothing()
            return (await connection.execute(kept)).rowcount > 0

    async def steps(self, job_id: str, number: int) -> dict[str, frozenset[str]]:
        """Return which steps each hospital has taken in a round."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        async with self._database.reading() as connection:
            query = _of_round(select(task.c.site, sum_step.c.step), job_id, number)
            for site, step in await connection.execute(query):
                found[site].add(step)
        return {site: frozenset(steps) for site, steps in found.items()}

    async def said(self, job_id: str, number: int, *steps: str) -> dict[str, dict[str, SumReport]]:
        """Return what each hospital said in a round at some steps; with many it is long."""
        query = _of_round(
            select(task.c.site, sum_step.c.step, sum_step.c.body), job_id, number
        ).where(sum_step.c.step.in_(steps))
        found: defaultdict[str, dict[str, SumReport]] = defaultdict(dict)
        async with self._database.reading() as connection:
            for site, step, body in await connection.execute(query):
                found[site][step] = SumReport.FromString(body)
        return dict(found)

    async def find(self, job_id: str, number: int) -> SumRound | None:
        query = select(sum_round).where(sum_round.c.job_id == job_id, sum_round.c.number == number)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        dealers, transcript = row["dealers"], row["transcript"]
        return SumRound(
            roster=SumRoster.FromString(row["roster"]),
            dealers=None if dealers is None else tuple(dealers.decode().split()),
            transcript=None if transcript is None else SumTranscript.FromString(transcript),
            transcript_at=row["transcript_at"],
        )

    async def fix_roster(self, job_id: str, number: int, roster: SumRoster) -> None:
        """Fix who takes part; what was fixed before stays."""
        values = {"job_id": job_id, "number": number, "roster": roster.SerializeToString()}
        async with self._database.writing() as connection:
            row = self._database.upsert(sum_round).values(**values)
            await connection.execute(row.on_conflict_do_nothing())

    async def fix_dealers(self, job_id: str, number: int, dealers: list[str]) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(sum_round)
                .where(sum_round.c.job_id == job_id, sum_round.c.number == number)
                .where(sum_round.c.dealers.is_(None))
                .values(dealers=" ".join(dealers).encode())
            )

    async def fix_transcript(
        self, job_id: str, number: int, transcript: SumTranscript, now: float
    ) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(sum_round)
                .where(sum_round.c.job_id == job_id, sum_round.c.number == number)
                .where(sum_round.c.transcript.is_(None))
                .values(transcript=transcript.SerializeToString(), transcript_at=now)
            )

    async def rounds_of(self, site: str) -> list[tuple[str, int]]:
        """Return the unfinished rounds in whose sum a site has entered."""
        query = (
            select(task.c.job_id, task.c.round)
            .join(sum_step, (sum_step.c.task_id == task.c.task_id) & (sum_step.c.step == "keys"))
            .join(round_, (round_.c.job_id == task.c.job_id) & (round_.c.number == task.c.round))
            .join(job, job.c.job_id == task.c.job_id)
            .where(task.c.site == site, ~round_.c.folded, job.c.stage.not_in(OVER))
        )
        async with self._database.reading() as connection:
            return [(row[0], row[1]) for row in await connection.execute(query)]

    async def under_way(self) -> list[str]:
        """Return the jobs that have a sum which is not finished."""
        query = (
            select(task.c.job_id)
            .join(sum_step, sum_step.c.task_id == task.c.task_id)
            .join(round_, (round_.c.job_id == task.c.job_id) & (round_.c.number == task.c.round))
            .join(job, job.c.job_id == task.c.job_id)
            .where(~round_.c.folded, job.c.stage.not_in(OVER))
            .distinct()
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())


def _of_round(columns: Select[Any], job_id: str, number: int) -> Select[Any]:
    return columns.join(sum_step, sum_step.c.task_id == task.c.task_id).where(
        task.c.job_id == job_id, task.c.round == number
    )
