"""The SQL of what hospitals answered before, for whoever is about to ask."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from coordinator.store.database import Database
from coordinator.store.tables import asked, question

QUESTIONS_AT_MOST = 2000  # looked at, the newest; what was spent is then at least what is said


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier question; once its time is over its answers change no more."""

    question_id: str
    organisation: str
    question: bytes
    expires_at: float


class GivenAnswers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, moment: float) -> list[Past]:
        """Return the questions asked since then, the newest first."""
        query = (
            select(
                question.c.question_id,
                question.c.organisation,
                question.c.body,
                question.c.expires_at,
            )
            .where(question.c.asked_at >= moment)
            .order_by(question.c.asked_at.desc())
            .limit(QUESTIONS_AT_MOST)
        )
        async with self._database.reading() as connection:
            return [
                Past(row.question_id, row.organisation, bytes(row.body), row.expires_at)
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
