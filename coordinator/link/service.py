"""LinkService: the one conversation with a gateway, and its bulk transfers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from coordinator.errors import CoordinatorError, InvalidRequest, WrongMoment
from coordinator.federation.fleet import Fleet
from coordinator.link.switchboard import Line, Switchboard
from coordinator.model import Caller, Clock, Offer
from coordinator.registry.roll import Roll
from protos.repeats import Span
from protos.v1.job_pb2 import JobDecision, TaskOutcome
from protos.v1.link_pb2 import (
    CheckpointExchange,
    ConnectRequest,
    ConnectResponse,
    FetchRequest,
    FetchResponse,
    HeldRequest,
    HeldResponse,
    PushRequest,
    PushResponse,
    Repeat,
    SignedManifest,
    Welcome,
)
from protos.v1.question_pb2 import Answer
from protos.v1.sum_pb2 import SumReport
from protos.vocabulary import PROTOCOL_VERSIONS

REPORT_ID_LENGTH = 128
VERSIONS_NAMED = 8  # of those a gateway claims to speak

log = structlog.get_logger()


class Asking(Protocol):
    async def outstanding(self, site: str) -> Sequence[Offer]: ...
    async def take_answer(self, site: str, answer: Answer) -> None: ...


class Offering(Protocol):
    async def outstanding(self, site: str) -> Sequence[Offer]: ...
    async def take_decision(self, site: str, decision: JobDecision) -> None: ...


class Training(Protocol):
    async def outstanding(self, site: str) -> Sequence[Offer]: ...
    async def take_outcome(self, site: str, outcome: TaskOutcome) -> None: ...
    async def take_sum(self, site: str, report: SumReport) -> None: ...


class Moving(Protocol):
    def fetch(self, site: str, request: FetchRequest) -> AsyncIterator[bytes | Span]: ...
    async def held(self, site: str, task_id: str, digest: bytes) -> int: ...
    async def push(self, site: str, chunks: AsyncIterator[PushRequest]) -> int: ...


class Exchanging(Protocol):
    async def hear(self, site: str, said: CheckpointExchange) -> CheckpointExchange: ...


class LinkServicer:
    """Delegates each message; settles a report once its effect is durable."""

    def __init__(  # noqa: PLR0917 - every desk an offer can come from, and what time it is
        self,
        fleet: Fleet,
        switchboard: Switchboard,
        asking: Asking,
        offering: Offering,
        training: Training,
        moving: Moving,
        roll: Roll,
        clock: Clock,
        heartbeat_seconds: int,
        notary: Exchanging | None = None,
    ) -> None:
        self._fleet = fleet
        self._switchboard = switchboard
        self._asking = asking
        self._offering = offering
        self._training = training
        self._moving = moving
        self._roll = roll
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._notary = notary
        self._taking: set[asyncio.Task[None]] = set()
        self._reports: Mapping[str, Callable[[str, ConnectRequest], Awaitable[None]]] = {
            "answer": lambda site, said: self._asking.take_answer(site, said.answer),
            "decision": lambda site, said: self._offering.take_decision(site, said.decision),
            "outcome": lambda site, said: self._training.take_outcome(site, said.outcome),
            "sum": lambda site, said: self._training.take_sum(site, said.sum),
        }

    async def connect(
        self, caller: Caller, requests: AsyncIterator[ConnectRequest]
    ) -> AsyncIterator[ConnectResponse]:
        """Carry the control messages: offers go out, reports come in."""
        first = await anext(requests, ConnectRequest())
        version = _version(first)
        line = self._switchboard.open(caller)
        hello = first.hello
        skew = hello.clock.ToNanoseconds() / 1e9 - self._clock() if hello.HasField("clock") else 0.0
        reading: asyncio.Task[None] | None = None
        try:
            await self._fleet.arrived(line.site, hello.software_version, skew)
            log.info("gateway_connected", site=line.site, version=hello.software_version[:64])
            yield self._welcome(version)
            if self._roll.version > hello.manifest_version:
                yield _manifest(self._roll)
            await self._offer_outstanding(line)
            reading = asyncio.create_task(self._read(line, requests))
            while (message := await line.next()) is not None:
                yield message
            if line.fault is not None:
                raise line.fault
        finally:
            if reading is not None:
                reading.cancel()
            await self._hang_up(line)

    async def fetch(self, caller: Caller, request: FetchRequest) -> AsyncIterator[FetchResponse]:
        site = caller.identity.name
        chunks = self._moving.fetch(site, request)
        async for chunk in chunks:
            if isinstance(chunk, Span):
                repeat = Repeat(source=chunk.source or 0, length=chunk.length)
                yield FetchResponse(repeat=repeat)
            else:
                yield FetchResponse(chunk=chunk)

    async def push(self, caller: Caller, requests: AsyncIterator[PushRequest]) -> PushResponse:
        return PushResponse(held=await self._moving.push(caller.identity.name, requests))

    async def held(self, caller: Caller, request: HeldRequest) -> HeldResponse:
        site = caller.identity.name
        held = await self._moving.held(site, request.task_id, request.digest)
        return HeldResponse(held=held, repeats=True)

    async def follow_manifest(self) -> None:
        """Give every connected gateway a manifest that was installed just now."""
        if await asyncio.to_thread(self._roll.refresh):
            log.info("manifest_in_force", version=self._roll.version)
            for line in self._switchboard.lines():
                line.tell(_manifest(self._roll))

    async def sweep(self, check: Callable[[Caller], None]) -> None:
        """Cut the lines of gateways that are silent, or no longer admitted."""
        for line in self._switchboard.silent():
            log.info("gateway_silent", site=line.site)
            line.cut()
        for line in self._switchboard.lines():
            try:
                check(line.caller)
            except CoordinatorError as fault:
                log.info("gateway_cut", site=line.site, reason=str(fault))
                line.cut(fault)

    async def _offer_outstanding(self, line: Line) -> None:
        """Offer again whatever is not settled; the live queue is open: nothing is missed."""
        for desk in (self._asking, self._offering, self._training):
            for offer in await desk.outstanding(line.site):
                line.offer(offer)

    async def _read(self, line: Line, requests: AsyncIterator[ConnectRequest]) -> None:
        waiting: set[asyncio.Task[None]] = set()
        try:
            async for said in requests:
                line.last_heard = self._clock()
                await self._hear(line, said, waiting)
            line.cut()
        except Exception as fault:  # noqa: BLE001 - carried to the door, where errors end
            line.cut(fault)
        finally:
            for task in waiting:
                task.cancel()

    async def _hear(
        self, line: Line, said: ConnectRequest, waiting: set[asyncio.Task[None]]
    ) -> None:
        body = said.WhichOneof("body")
        self._fleet.heard(line.site)
        if body == "heartbeat":
            beat = said.heartbeat
            skew = beat.clock.ToNanoseconds() / 1e9 - self._clock()
            condition = beat.condition if beat.HasField("condition") else None
            self._fleet.heard(line.site, skew, condition)
        elif body == "checkpoint" and self._notary is not None:
            task = asyncio.create_task(self._compare(self._notary, line, said.checkpoint))
            waiting.add(task)  # the chain may be long, and its walk holds up nothing else
            task.add_done_callback(waiting.discard)
        elif body == "hello":
            raise InvalidRequest("a hello comes first, and once")
        elif body is not None and body in self._reports:
            if not 0 < len(said.report_id) <= REPORT_ID_LENGTH:
                raise InvalidRequest("a report has an identifier of 1-128 characters")
            if body == "outcome":  # may wait for its object, and holds up nothing else
                task = asyncio.create_task(self._take(line, body, said))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            else:
                await self._take_whole(line, body, said)
        else:  # a newer gateway's word: not settled, so it is not lost
            log.info("report_not_understood", site=line.site)

    async def _compare(self, notary: Exchanging, line: Line, said: CheckpointExchange) -> None:
        try:
            line.tell(ConnectResponse(checkpoint=await notary.hear(line.site, said)))
        except Exception as fault:  # noqa: BLE001 - carried to the door, where errors end
            line.cut(fault)

    async def _take_whole(self, line: Line, body: str, said: ConnectRequest) -> None:
        """Take a report to its end, though its line is cut meanwhile.

        Stopped between its storing and its telling, an answer would be known to the history and
        never reach who asked: the repeat on the next line is no news any more.
        """
        task = asyncio.create_task(self._take(line, body, said))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        await asyncio.shield(task)

    async def _take(self, line: Line, body: str, said: ConnectRequest) -> None:
        try:
            await self._reports[body](line.site, said)
            line.settle(said.report_id)
        except Exception as fault:  # noqa: BLE001 - carried to the door, where errors end
            line.cut(fault)

    async def _hang_up(self, line: Line) -> None:
        if self._switchboard.close(line):
            await self._fleet.left(line.site)
            log.info("gateway_gone", site=line.site)

    def _welcome(self, version: int) -> ConnectResponse:
        welcome = Welcome(protocol_version=version, heartbeat_seconds=self._heartbeat_seconds)
        welcome.clock.FromNanoseconds(int(self._clock() * 1e9))
        return ConnectResponse(welcome=welcome)


def _manifest(roll: Roll) -> ConnectResponse:
    return ConnectResponse(manifest=SignedManifest(content=roll.signed))


def _version(first: ConnectRequest) -> int:
    if first.WhichOneof("body") != "hello":
        raise InvalidRequest("a connection begins with a hello")
    common = set(first.hello.protocol_versions) & set(PROTOCOL_VERSIONS)
    if not common:
        ours, theirs = _listed(PROTOCOL_VERSIONS), _listed(first.hello.protocol_versions)
        raise WrongMoment(
            f"this coordinator speaks protocol version {ours} and the gateway {theirs}: upgrade "
            "the older side"
        )
    return max(common)


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions)[:VERSIONS_NAMED])) or "none"
