"""The SQL of rounds: each step of a round is one transaction, so that a killed one resumes."""

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Insert, Update, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.model import OVER, JobStage, Pooled, RoundRecord, TaskRecord
from coordinator.store.database import Database
from coordinator.store.tables import job, job_site, pooled, round_, task, transcript
from protos.v1.job_pb2 import RoundTranscript, TaskState

ENDED = frozenset(
    {
        TaskState.TASK_STATE_RELEASED,
        TaskState.TASK_STATE_WITHHELD,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_REFUSED,
    }
)
_OPEN_ROUND = (
    (round_.c.job_id == task.c.job_id)
    & (round_.c.number == task.c.round)
    & round_.c.closed_at.is_(None)
)


class Rounds:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, record: RoundRecord, tasks: Iterable[TaskRecord]) -> None:
        """Open a job's first round."""
        async with self._database.writing() as connection:
            await _open(connection, record, tasks)

    async def newest(self, job_id: str) -> RoundRecord | None:
        query = (
            select(round_)
            .where(round_.c.job_id == job_id)
            .order_by(round_.c.number.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            return None if row is None else RoundRecord(**row)

    async def all(self, job_id: str) -> list[RoundRecord]:
        query = select(round_).where(round_.c.job_id == job_id).order_by(round_.c.number)
        async with self._database.reading() as connection:
            return [RoundRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def states_left(self) -> list[bytes]:
        """Return what servers remembered in rounds of jobs that are over."""
        query = (
            select(round_.c.state_digest)
            .join(job, job.c.job_id == round_.c.job_id)
            .where(job.c.stage.in_(OVER), round_.c.state_digest != b"")
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def tasks(self, job_id: str, number: int | None = None) -> list[TaskRecord]:
        query = select(*_TASK).where(task.c.job_id == job_id).order_by(task.c.round, task.c.site)
        if number is not None:
            query = query.where(task.c.round == number)
        async with self._database.reading() as connection:
            return [TaskRecord(*row) for row in await connection.execute(query)]

    async def task(self, task_id: str) -> TaskRecord | None:
        query = select(*_TASK).where(task.c.task_id == task_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            return None if row is None else TaskRecord(**row)

    async def round_of(self, record: TaskRecord) -> RoundRecord:
        query = select(round_).where(
            round_.c.job_id == record.job_id, round_.c.number == record.round
        )
        async with self._database.reading() as connection:
            return RoundRecord(**(await connection.execute(query)).mappings().one())

    async def outstanding(self, site: str) -> list[tuple[TaskRecord, RoundRecord]]:
        """Return a site's unfinished tasks in open rounds of running jobs."""
        query = (
            select(*_TASK)
            .join(round_, _OPEN_ROUND)
            .join(job, job.c.job_id == task.c.job_id)
            .where(task.c.site == site, task.c.state.not_in(ENDED), job.c.stage.not_in(OVER))
        )
        async with self._database.reading() as connection:
            found = [TaskRecord(**row) for row in (await connection.execute(query)).mappings()]
        return [(record, await self.round_of(record)) for record in found]

    async def pushed(self, task_id: str, digest: bytes) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(task).where(task.c.task_id == task_id).values(pushed=digest)
            )

    async def report(self, task_id: str, state: int, outcome: bytes, now: float) -> None:
        """Store a site's newest report; the first that ends the task stays."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(task)
                .where(task.c.task_id == task_id, task.c.state.not_in(ENDED))
                .values(state=state, outcome=outcome, reported_at=now)
            )

    async def mark(self, task_id: str, outcome: bytes) -> None:
        """Replace an ended task's report by one that names its fault."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(task)
                .where(task.c.task_id == task_id)
                .values(state=TaskState.TASK_STATE_FAILED, outcome=outcome)
            )

    async def close(self, record: RoundRecord, accepted: Iterable[str], now: float) -> None:
        """Fix who is in the sum; from here on the round's result is a function of stored bytes."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(task)
                .where(task.c.job_id == record.job_id, task.c.round == record.number,
                       task.c.site.in_(list(accepted)))
                .values(accepted=True)
            )  # fmt: skip
            await connection.execute(_this(record).values(closed_at=now))

    async def turn(
        self,
        record: RoundRecord,
        figure: Pooled,
        following: RoundRecord | None,
        tasks: Iterable[TaskRecord],
        told: RoundTranscript | None,
    ) -> None:
        """Finish a round and open the next, or end the job, in one step."""
        async with self._database.writing() as connection:
            await connection.execute(_this(record).values(folded=True))
            if told is not None:
                await connection.execute(_tell(told))
            await connection.execute(insert(pooled).values(job_id=record.job_id, **asdict(figure)))
            if following is not None:
                await _open(connection, following, tasks)
                return
            await connection.execute(
                update(job)
                .where(job.c.job_id == record.job_id, job.c.stage.not_in(OVER))
                .values(stage=JobStage.FINISHED)
            )

    async def pooled(self, job_id: str) -> list[Pooled]:
        query = (
            select(pooled.c.round, pooled.c.auc, pooled.c.low, pooled.c.high)
            .where(pooled.c.job_id == job_id)
            .order_by(pooled.c.round)
        )
        async with self._database.reading() as connection:
            return [Pooled(*row) for row in await connection.execute(query)]

    async def tell(self, told: RoundTranscript) -> None:
        async with self._database.writing() as connection:
            await connection.execute(_tell(told))

    async def transcripts(self, job_id: str, since: int = 1) -> list[RoundTranscript]:
        query = (
            select(transcript.c.body)
            .where(transcript.c.job_id == job_id, transcript.c.round >= since)
            .order_by(transcript.c.round)
        )
        async with self._database.reading() as connection:
            bodies = (await connection.execute(query)).scalars()
            return [RoundTranscript.FromString(body) for body in bodies]

    async def former_parts(
        self, job_id: str, number: int, site: str | None = None
    ) -> dict[str, int]:
        """Return the last round before this one that each hospital, or one, had a part in."""
        query = (
            select(task.c.site, func.max(task.c.round))
            .where(task.c.job_id == job_id, task.c.round < number)
            .group_by(task.c.site)
        )
        if site is not None:
            query = query.where(task.c.site == site)
        async with self._database.reading() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def version(self, job_id: str) -> tuple[object, ...]:
        """Return what changes whenever a report on one of a job's tasks does."""
        query = select(func.count(), func.sum(task.c.state), func.max(task.c.reported_at)).where(
            task.c.job_id == job_id
        )
        async with self._database.reading() as connection:
            return tuple((await connection.execute(query)).one())

    async def due(self, now: float, decision_seconds: float) -> list[str]:
        """Return the jobs whose time has come: a deadline passed, or a step was interrupted."""
        waiting = exists().where(
            round_.c.job_id == job.c.job_id,
            or_(
                round_.c.closed_at.is_(None) & (round_.c.deadline <= now),
                round_.c.closed_at.is_not(None) & ~round_.c.folded,
            ),
        )
        offered = (job.c.stage == JobStage.OFFERED) & (job.c.offered_at <= now - decision_seconds)
        query = select(job.c.job_id).where(job.c.stage.not_in(OVER), or_(offered, waiting))
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def may_fetch(self, site: str, digest: bytes) -> bool:
        """Say whether an object was put before a site: a bundle offered, a round's weights."""
        offered = select(job.c.job_id).join(job_site, job_site.c.job_id == job.c.job_id).where(
            job_site.c.site == site, job.c.bundle_digest == digest,
            job.c.stage != JobStage.IN_REVIEW,
        )  # fmt: skip
        invited = select(task.c.task_id).join(
            round_, (round_.c.job_id == task.c.job_id) & (round_.c.number == task.c.round)
        ).where(task.c.site == site, round_.c.weights_digest == digest)  # fmt: skip
        async with self._database.reading() as connection:
            for query in (offered, invited):
                if (await connection.execute(query.limit(1))).first() is not None:
                    return True
        return False


_TASK = (
    task.c.task_id,
    task.c.job_id,
    task.c.round,
    task.c.site,
    task.c.state,
    task.c.outcome,
    task.c.pushed,
    task.c.accepted,
    task.c.reported_at,
)


async def _open(
    connection: AsyncConnection, record: RoundRecord, tasks: Iterable[TaskRecord]
) -> None:
    await connection.execute(insert(round_).values(**asdict(record)))
    await connection.execute(insert(task), [asdict(each) for each in tasks])
    await connection.execute(
        update(job)
        .where(job.c.job_id == record.job_id, job.c.stage.not_in(OVER))
        .values(stage=JobStage.RUNNING, round=record.number)
    )


def _tell(told: RoundTranscript) -> Insert:
    body = told.SerializeToString(deterministic=True)
    row = {"job_id": told.job_id, "round": told.round, "body": body}
    return insert(transcript).values(row)


def _this(record: RoundRecord) -> Update:
    return update(round_).where(round_.c.job_id == record.job_id, round_.c.number == record.number)
