"""The SQL of what hospitals answered before, for whoever is about to ask."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from coordinator.store.database import Database
from coordinator.store.tables import asked, question


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier question; once its time is over its answers change no more."""

    question_id: str
    organisation: str
    question: bytes
    asked_at: float
    expires_at: float


class GivenAnswers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, moment: float, before: float, at_most: int) -> list[Past]:
        """Return the questions asked since a moment and before another, the newest first."""
        query = (
            select(
                question.c.question_id,
                question.c.organisation,
                question.c.body,
                question.c.asked_at,
                question.c.expires_at,
            )
            .where(question.c.asked_at >= moment, question.c.asked_at < before)
            .order_by(question.c.asked_at.desc())
            .limit(at_most)
        )
        async with self._database.reading() as connection:
            return [
                Past(
                    row.question_id,
                    row.organisation,
                    bytes(row.body),
                    row.asked_at,
                    row.expires_at,
                )
                for row in await connection.execute(query)
            ]

    async def of(self, questions: Collection[str]) -> list[tuple[str, str, bytes]]:
        """Return their answers: of which question, from whom, what."""
        query = select(asked.c.question_id, asked.c.site, asked.c.answer).where(
            asked.c.question_id.in_(questions), asked.c.answer.is_not(None)
        )
        async with self._database.reading() as connection:
            return [
                (row.question_id, row.site, bytes(row.answer))
                for row in await connection.execute(query)
            ]
