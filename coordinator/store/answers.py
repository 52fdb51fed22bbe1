"""The SQL of what hospitals answered before, for whoever is about to ask."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from coordinator.store.database import Database
from coordinator.store.tables import asked, question

ANSWERS_AT_MOST = 20_000  # looked at, the newest; what was spent is then at least what is said


@dataclass(frozen=True, slots=True)
class Given:
    """One hospital's answer to an earlier question."""

    site: str
    organisation: str
    question: bytes
    answer: bytes


class GivenAnswers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, moment: float, sites: Collection[str]) -> list[Given]:
        """Return the sites' answers to questions asked since then, the newest first."""
        query = (
            select(asked.c.site, question.c.organisation, question.c.body, asked.c.answer)
            .join(question, asked.c.question_id == question.c.question_id)
            .where(
                question.c.asked_at >= moment,
                asked.c.site.in_(sites),
                asked.c.answer.is_not(None),
            )
            .order_by(question.c.asked_at.desc())
            .limit(ANSWERS_AT_MOST)
        )
        async with self._database.reading() as connection:
            return [
                Given(row.site, row.organisation, bytes(row.body), bytes(row.answer))
                for row in await connection.execute(query)
            ]
