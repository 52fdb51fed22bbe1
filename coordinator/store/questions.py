"""The SQL of questions and their answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update

from coordinator.store.database import Database
from coordinator.store.tables import asked, question
from protos.v1.question_pb2 import AnswerState


@dataclass(frozen=True, slots=True)
class AskedRecord:
    """One line of the history."""

    body: bytes
    asked_at: float
    answered: int
    asked: int


class Questions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(
        self,
        question_id: str,
        body: bytes,
        sites: Iterable[str],
        now: float,
        expires_at: float,
        organisation: str,
    ) -> None:
        rows = [{"question_id": question_id, "site": site} for site in sites]
        async with self._database.writing() as connection:
            await connection.execute(
                insert(question).values(
                    question_id=question_id,
                    body=body,
                    asked_at=now,
                    expires_at=expires_at,
                    organisation=organisation,
                )
            )
            if rows:
                await connection.execute(insert(asked), rows)

    async def outstanding(self, site: str, now: float) -> list[bytes]:
        """Return the open questions a site has not answered."""
        query = (
            select(question.c.body)
            .join(asked, asked.c.question_id == question.c.question_id)
            .where(asked.c.site == site, asked.c.answered_at.is_(None), question.c.expires_at > now)
            .order_by(question.c.asked_at)
        )
        async with self._database.reading() as connection:
            return [bytes(row.body) for row in await connection.execute(query)]

    async def answer(
        self, question_id: str, site: str, state: int, answer: bytes, now: float
    ) -> bool:
        """Store a site's first answer; False where it was not asked or has answered before."""
        async with self._database.writing() as connection:
            stored = await connection.execute(
                update(asked)
                .where(
                    asked.c.question_id == question_id,
                    asked.c.site == site,
                    asked.c.answered_at.is_(None),
                )
                .values(state=state, answer=answer, answered_at=now)
            )
            return stored.rowcount == 1

    async def was_asked(self, question_id: str, site: str) -> bool:
        query = select(asked.c.site).where(asked.c.question_id == question_id, asked.c.site == site)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None

    async def newest(self, limit: int, organisation: str | None = None) -> list[AskedRecord]:
        valued = func.count().filter(asked.c.state == AnswerState.ANSWER_STATE_VALUE)
        query = (
            select(question.c.body, question.c.asked_at, valued.label("answered"),
                   func.count(asked.c.site).label("asked"))
            .join(asked, asked.c.question_id == question.c.question_id, isouter=True)
            .group_by(question.c.question_id)
            .order_by(question.c.asked_at.desc())
            .limit(limit)
        )  # fmt: skip
        if organisation is not None:
            query = query.where(question.c.organisation == organisation)
        async with self._database.reading() as connection:
            return [
                AskedRecord(bytes(row.body), row.asked_at, row.answered, row.asked)
                for row in await connection.execute(query)
            ]
