"""The question desk: fans a question out, gathers the answers, names who was absent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from coordinator.audit import AuditTrail
from coordinator.errors import NotFound
from coordinator.federation.rules import (
    Asking,
    absent,
    as_asked,
    check_question,
    check_summary,
    combined,
    is_sound,
    known_field,
    total,
)
from coordinator.federation.summary import summaries
from coordinator.model import Caller, Clock, Deliver, Offer
from coordinator.store.questions import AskedRecord, KeptQuestion, Questions, Taken
from protos.identity import Role
from protos.v1.federation_pb2 import AskQuestionResponse, SiteAnswer, Total
from protos.v1.question_pb2 import Answer, Question
from protos.vocabulary import FieldKind

LATE_SECONDS = 60.0  # a gateway that computed an answer may still hand it in, for the history
DEADLINE_AT_MOST = 86400
LOOKED_AT_MOST = 16
ABSENT_GRACE_SECONDS = 3.0  # a site that is away may come back

Arrival = tuple[str, Answer]


@dataclass(frozen=True, slots=True)
class Seen:
    """A question that was asked; who has not answered while it is open is in no `answers`."""

    question: Question
    asked_at: float
    sites: Sequence[str]
    answers: Mapping[str, Answer]
    total: Total
    is_open: bool


class QuestionDesk:
    def __init__(
        self,
        questions: Questions,
        audit: AuditTrail,
        deliver: Deliver,
        connected: Callable[[], frozenset[str]],
        clock: Clock,
        absent_grace: float,
    ) -> None:
        self._questions = questions
        self._audit = audit
        self._deliver = deliver
        self._connected = connected
        self._clock = clock
        self._absent_grace = absent_grace
        self._open: dict[str, asyncio.Queue[Arrival]] = {}
        self._looked: dict[str, tuple[tuple[int, bool], Seen]] = {}

    async def ask(
        self,
        question: Question,
        sites: frozenset[str],
        deadline: float,
        by: Caller,
        *,
        quorum: int = 0,
        summarise: str = "",
        name: str = "",
    ) -> AsyncIterator[AskQuestionResponse]:
        """Ask the sites; yield each answer as it comes, OFFLINE for the rest, and the total.

        `name` is the question's identifier where the caller, inside this house, has made one.
        """
        check_question(question)
        if summarise:
            check_summary(question, summarise)
        stamped = self._stamped(question, min(deadline, DEADLINE_AT_MOST), by.identity.uri, name)
        name, now = stamped.question_id, self._clock()
        queue = self._open[name] = asyncio.Queue()
        try:
            expiry = stamped.expires_at.ToNanoseconds() / 1e9
            await self._questions.ask(
                name, stamped.SerializeToString(), sites, now, expiry, by.organisation
            )
            await self._audit.record(
                "question_asked",
                question=name,
                by=by.identity.uri,
                sites=len(sites),
                project=question.project,
            )
            for site in sites:
                self._deliver(site, stamped)
            asking = Asking(sites, quorum=min(quorum, len(sites)))
            async for site, answer in self._gather(question, queue, asking, deadline):
                asking = asking.answered(site, answer)
                yield _said(site, answer, len(sites))
            for site in sorted(asking.awaited):
                yield _said(site, absent(name, enough=asking.is_enough), len(sites))
            answers = asking.answers.values()
            sums = combined(answers)
            added = total(name, answers, len(sites), sums)
            if summarise:
                added.summaries.extend(summaries(summarise, question.group_by, sums))
            yield AskQuestionResponse(total=added, asked=len(sites))
        finally:
            del self._open[name]

    async def _gather(
        self, question: Question, queue: asyncio.Queue[Arrival], asking: Asking, deadline: float
    ) -> AsyncIterator[Arrival]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            patience = asking.patience(self._connected(), deadline, self._absent_grace)
            left = start + patience - loop.time()
            if left <= 0:
                return
            try:
                # Woken each second at the latest: a site may have left, or come back.
                site, given = await asyncio.wait_for(queue.get(), min(left, 1.0))
            except TimeoutError:
                continue
            answer = as_asked(question, given)
            asking = asking.answered(site, answer)
            yield site, answer

    async def outstanding(self, site: str) -> Sequence[Offer]:
        now = self._clock()
        return [Question.FromString(body) for body in await self._questions.outstanding(site, now)]

    async def take_answer(self, site: str, answer: Answer) -> None:
        """Store an answer, late ones too; one that cannot be is audited and has no effect."""
        name, taken = answer.question_id, Taken.NOT_ASKED
        if is_sound(answer):
            body, now = answer.SerializeToString(), self._clock()
            taken = await self._questions.answer(name, site, answer.state, body, now)
        if taken is Taken.NOT_ASKED:
            await self._audit.record("answer_refused", site=site, question=name[:64])
        elif taken is Taken.NEW and (waiting := self._open.get(name)) is not None:
            waiting.put_nowait((site, answer))

    async def newest(self, limit: int, by: Caller) -> list[AskedRecord]:
        """Return the history: a requester's organisation's own, and everybody's for the others."""
        own = by.organisation if by.identity.role is Role.REQUESTER else None
        return await self._questions.newest(limit, own)

    async def knows(self, name: str) -> bool:
        return await self._questions.get(name) is not None

    async def seen(self, name: str, by: Caller) -> Seen:
        """Return a question with what every hospital said to it until now."""
        own = by.organisation if by.identity.role is Role.REQUESTER else None
        record = await self._questions.get(name, own)
        if record is None:
            raise NotFound("there is no question of this name")
        # Looked at twice a second while it is open, and then for years: added once a change.
        now = (await self._questions.answered(name), name in self._open)
        known = self._looked.get(name)
        if known is None or known[0] != now:
            given = await self._questions.given(name)
            seen = await asyncio.to_thread(_seen, record, given, is_open=now[1])
            while len(self._looked) >= LOOKED_AT_MOST:
                del self._looked[next(iter(self._looked))]
            known = self._looked[name] = (now, seen)
        return known[1]

    def _stamped(self, question: Question, deadline: float, requester: str, name: str) -> Question:
        stamped = Question()
        stamped.CopyFrom(question)
        stamped.question_id = name or uuid4().hex
        stamped.requester = requester
        expiry = self._clock() + deadline + LATE_SECONDS
        stamped.expires_at.FromNanoseconds(int(expiry * 1e9))
        return stamped


def _said(site: str, answer: Answer, asked: int) -> AskQuestionResponse:
    return AskQuestionResponse(site_answer=SiteAnswer(site=site, answer=answer), asked=asked)


def _seen(
    record: KeptQuestion, given: Sequence[tuple[str, bytes | None]], *, is_open: bool
) -> Seen:
    question = Question.FromString(record.body)
    answers = {
        site: absent(question.question_id)
        if body is None
        else as_asked(question, Answer.FromString(body))
        for site, body in given
        if body is not None or not is_open
    }
    sums = combined(answers.values())
    added = total(question.question_id, answers.values(), len(given), sums)
    for name in question.group_by:
        if known_field(name).kind is FieldKind.NUMBER:
            added.summaries.extend(summaries(name, question.group_by, sums))
    return Seen(question, record.asked_at, [site for site, _ in given], answers, added, is_open)
