"""Questions for the console: read as typed, asked in the background, seen as they are answered."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from uuid import uuid4

import structlog

from coordinator.api.asking import Protection, Wish
from coordinator.console.house import Prepared
from coordinator.errors import WrongMoment
from coordinator.federation.desk import QuestionDesk, Seen
from coordinator.federation.fleet import Fleet
from coordinator.federation.slip import Slip
from coordinator.model import Caller

log = structlog.get_logger()

OPEN_AT_MOST = 32
TICK_SECONDS = 0.01


class Questioning:
    """Keeps each question open until its deadline, whoever looks on."""

    def __init__(self, fleet: Fleet, desk: QuestionDesk) -> None:
        self._fleet = fleet
        self._desk = desk
        self._open: set[asyncio.Task[None]] = set()

    def prepare(
        self, where: str, by: Sequence[str], unit: str, project: str, mean: str, tier: str
    ) -> Prepared:
        known = Protection(tier) if tier in set(Protection) else Protection.NOISY
        wish = Wish(where, tuple(by), unit, project, mean, known)
        return Prepared(wish.question, wish.summarised)

    async def ask(self, slip: Slip, by: Caller) -> str:
        """Put a question to the hospitals; return its name once it is in the history."""
        if len(self._open) >= OPEN_AT_MOST:
            raise WrongMoment(f"{OPEN_AT_MOST} questions are open: wait until one has ended")
        name = uuid4().hex
        task = asyncio.create_task(self._gather(name, slip, by))
        self._open.add(task)
        task.add_done_callback(self._ended)
        while not task.done() and not await self._desk.knows(name):
            await asyncio.wait([task], timeout=TICK_SECONDS)
        if task.done():
            task.result()  # it could not be asked: the reason is raised here
        return name

    async def seen(self, name: str, by: Caller) -> Seen:
        return await self._desk.seen(name, by)

    async def end(self) -> None:
        """Stop waiting; answers that come later are stored all the same."""
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _gather(self, name: str, slip: Slip, by: Caller) -> None:
        sites = self._fleet.chosen(frozenset(slip.sites))
        said = self._desk.ask(
            slip.question, sites, slip.deadline_seconds, by,
            quorum=slip.quorum, summarise=slip.summarise, name=name,
        )  # fmt: skip
        async with aclosing(said):  # type: ignore[type-var] # a generator, which its type hides
            async for _each in said:
                pass

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.warning("question_ended", kind=type(fault).__name__)
