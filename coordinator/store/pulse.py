"""When a coordinator was last at work: the time in which none was, no deadline has to pay for."""

import asyncio

import structlog
from sqlalchemy import Column, Double, String, Table, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from coordinator.errors import CoordinatorError
from coordinator.model import Clock, JobStage
from coordinator.store.database import Database
from coordinator.store.tables import job, metadata, round_

BEAT_SECONDS = 30.0
NOTICED_SECONDS = 60.0  # a shorter absence is within every deadline's own slack

pulse = Table(
    "pulse",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("at", Double, nullable=False),
)

log = structlog.get_logger()


class Pulse:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def resume(self) -> float:
        """Give open rounds and offers back the time in which nobody led; return it, in seconds.

        A hospital that worked on while the coordinator was away hands its work in afterwards.
        """
        now = self._clock()
        async with self._database.writing() as connection:
            last = (await connection.execute(select(pulse.c.at))).scalar_one_or_none()
            away = 0.0 if last is None else now - last
            if away > NOTICED_SECONDS:
                await connection.execute(
                    update(round_)
                    .where(round_.c.closed_at.is_(None), round_.c.deadline > last)
                    .values(deadline=round_.c.deadline + away)
                )
                offered = func.coalesce(job.c.offered_at, job.c.submitted_at)
                await connection.execute(
                    update(job)
                    .where(job.c.stage == JobStage.OFFERED)
                    .values(offered_at=offered + away)
                )
            values = {"at": now}
            beat = self._database.upsert(pulse).values(name="coordinator", **values)
            await connection.execute(
                beat.on_conflict_do_update(index_elements=["name"], set_=values)
            )
        return away if away > NOTICED_SECONDS else 0.0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                async with self._database.writing() as connection:
                    await connection.execute(update(pulse).values(at=self._clock()))
            except (SQLAlchemyError, CoordinatorError, OSError) as fault:
                log.warning("pulse_missed", kind=type(fault).__name__)
