"""The SQL of questions and their answers."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from sqlalchemy import bindparam, func, insert, select, update

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


@dataclass(frozen=True, slots=True)
class KeptQuestion:
    """A question as it was asked."""

    body: bytes
    asked_at: float


class Taken(Enum):
    """What became of a site's answer."""

    NEW = auto()
    KNOWN = auto()  # it had answered before: the first word stands
    NOT_ASKED = auto()


@dataclass(slots=True)
class _Handed:
    """An answer on its way into the table."""

    question_id: str
    site: str
    state: int
    answer: bytes
    at: float
    taken: asyncio.Future[Taken] = field(default_factory=asyncio.Future)

    @property
    def key(self) -> tuple[str, str]:
        return (self.question_id, self.site)

    def row(self) -> dict[str, object]:
        return {
            "of_question": self.question_id,
            "of_site": self.site,
            "state": self.state,
            "answer": self.answer,
            "answered_at": self.at,
        }


GATHER_SECONDS = 0.02  # four hundred answers come within a second or so
STORE = (
    update(asked)
    .where(asked.c.question_id == bindparam("of_question"), asked.c.site == bindparam("of_site"))
    .values(
        state=bindparam("state"), answer=bindparam("answer"), answered_at=bindparam("answered_at")
    )
)


class Questions:
    """Answers that come together are stored together: a commit costs more than an answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._handed: list[_Handed] = []
        self._storing = asyncio.Lock()

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
    ) -> Taken:
        """Store a site's first answer, durably."""
        mine = _Handed(question_id, site, state, answer, now)
        self._handed.append(mine)
        async with self._storing:
            if not mine.taken.done():  # nobody who waited before has taken it along
                await asyncio.sleep(GATHER_SECONDS)
                together, self._handed = self._handed, []
                await self._store(together)
        return mine.taken.result()

    async def _store(self, together: Sequence[_Handed]) -> None:
        try:
            taken = await self._stored(together)
        except asyncio.CancelledError:
            for handed in together:
                handed.taken.cancel()
            raise
        except Exception as fault:  # noqa: BLE001 - raised to whoever handed it in
            if len(together) == 1:
                together[0].taken.set_exception(fault)
                return
            for handed in together:  # what one site sends must not be another's failure
                await self._store([handed])
            return
        for handed, what in zip(together, taken, strict=True):
            handed.taken.set_result(what)

    async def _stored(self, together: Sequence[_Handed]) -> list[Taken]:
        """Store what is new in one transaction; the one writer's look and its words agree."""
        ids, sites = ({handed.key[part] for handed in together} for part in (0, 1))
        query = select(asked.c.question_id, asked.c.site, asked.c.answered_at).where(
            asked.c.question_id.in_(ids), asked.c.site.in_(sites)
        )
        async with self._database.writing() as connection:
            rows = await connection.execute(query)
            stands = {(row.question_id, row.site): row.answered_at for row in rows}
            new: dict[tuple[str, str], _Handed] = {}
            for handed in together:
                if stands.get(handed.key, 0.0) is None:
                    new.setdefault(handed.key, handed)
            if new:
                await connection.execute(STORE, [handed.row() for handed in new.values()])
        return [
            Taken.NOT_ASKED
            if handed.key not in stands
            else Taken.NEW
            if new.get(handed.key) is handed
            else Taken.KNOWN
            for handed in together
        ]

    async def newest(self, limit: int, organisation: str | None = None) -> list[AskedRecord]:
        """Return the history's newest lines: a long history costs no more than a short one."""
        lines = select(question.c.question_id).order_by(question.c.asked_at.desc()).limit(limit)
        if organisation is not None:
            lines = lines.where(question.c.organisation == organisation)
        valued = func.count().filter(asked.c.state == AnswerState.ANSWER_STATE_VALUE)
        query = (
            select(question.c.body, question.c.asked_at, valued.label("answered"),
                   func.count(asked.c.site).label("asked"))
            .join(asked, asked.c.question_id == question.c.question_id, isouter=True)
            .where(question.c.question_id.in_(lines.scalar_subquery()))
            .group_by(question.c.question_id)
            .order_by(question.c.asked_at.desc())
        )  # fmt: skip
        async with self._database.reading() as connection:
            return [
                AskedRecord(bytes(row.body), row.asked_at, row.answered, row.asked)
                for row in await connection.execute(query)
            ]

    async def get(self, question_id: str, organisation: str | None = None) -> KeptQuestion | None:
        query = select(question.c.body, question.c.asked_at).where(
            question.c.question_id == question_id
        )
        if organisation is not None:
            query = query.where(question.c.organisation == organisation)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else KeptQuestion(bytes(row.body), row.asked_at)

    async def answered(self, question_id: str) -> int:
        query = (
            select(func.count())
            .select_from(asked)
            .where(asked.c.question_id == question_id, asked.c.answered_at.is_not(None))
        )
        async with self._database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def given(self, question_id: str) -> list[tuple[str, bytes | None]]:
        """Return each hospital asked, by name, with its answer where there is one."""
        query = (
            select(asked.c.site, asked.c.answer)
            .where(asked.c.question_id == question_id)
            .order_by(asked.c.site)
        )
        async with self._database.reading() as connection:
            return [
                (row.site, None if row.answer is None else bytes(row.answer))
                for row in await connection.execute(query)
            ]
