"""The bulk connection: bundles and weights come, released updates go, resumed by offset."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Protocol

import grpc
import structlog

from gateway.desk.book import Report
from gateway.desk.objects import Objects, Wanted
from gateway.errors import GatewayError, IntegrityFault
from gateway.link.channel import refusal_of, wire_bytes
from gateway.link.pace import Pace
from gateway.link.rules import delay
from gateway.release.gate import Gate, Released
from gateway.release.rules import Kind
from protos.v1 import job_pb2, link_pb2

SERVICE = "/radfed.v1.LinkService"
SECONDS = 600.0
IDLE_SECONDS = 0.5
REFUSALS_AT_MOST = 3
# The coordinator does not want the update (any more): its round has gone on without us.
UNWANTED = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
    }
)

log = structlog.get_logger()


class BulkDesk(Protocol):
    """What the bulk connection needs of the desk."""

    @property
    def objects(self) -> Objects: ...
    def wanted(self) -> list[Wanted]: ...
    def arrived(self, digest: bytes) -> None: ...
    def outbox(self) -> list[Report]: ...


class Bulk:
    """Fetches what the desk wants and pushes what the gate released, one object at a time."""

    def __init__(
        self,
        gate: Gate,
        desk: BulkDesk,
        is_up: Callable[[], bool],
        draw: Callable[[float, float], float],
        at_most: float,
        pace: Pace,
    ) -> None:
        self._gate = gate
        self._desk = desk
        self._is_up = is_up
        self._draw = draw
        self._at_most = at_most
        self._pace = pace
        self._pushed: set[str] = set()
        self._refused: dict[str, int] = {}

    def is_pushed(self, task_id: str) -> bool:
        return task_id in self._pushed

    def run(self, open_channel: Callable[[], grpc.Channel], stop: Event) -> None:
        failures = 0
        while not stop.is_set():
            if not (self._is_up() and self._pace.is_open() and self._has_work()):
                stop.wait(IDLE_SECONDS)
                continue
            try:
                with open_channel() as channel:
                    self._work(channel, stop)
                failures = 0
            except (grpc.RpcError, grpc.FutureTimeoutError, GatewayError, OSError) as fault:
                failures += 1
                log.warning("bulk_failed", why=_reason(fault))
                stop.wait(delay(failures, self._at_most, self._draw))

    def _has_work(self) -> bool:
        return bool(self._desk.wanted() or self._unpushed())

    def _work(self, channel: grpc.Channel, stop: Event) -> None:
        """Do what there is to do, and what comes up meanwhile, over one connection."""
        grpc.channel_ready_future(channel).result(timeout=10)
        idle = 0
        while not self._is_over(stop) and idle < 20:  # noqa: PLR2004 - ten seconds, then hang up
            for wanted in self._desk.wanted():
                self._fetch(channel, wanted, stop)
                idle = 0
            for task_id, approved_by in self._unpushed():
                self._push(channel, task_id, approved_by, stop)
                idle = 0
            idle += 1
            stop.wait(IDLE_SECONDS)

    def _fetch(self, channel: grpc.Channel, wanted: Wanted, stop: Event) -> None:
        """Fetch an object from where the last attempt ended, and check it against its name."""
        objects = self._desk.objects
        offset = objects.held(wanted)
        if offset < wanted.size:
            fetch = channel.unary_stream(
                f"{SERVICE}/Fetch",
                request_serializer=wire_bytes,
                response_deserializer=link_pb2.FetchResponse.FromString,
            )
            call = fetch(self._gate.fetch(wanted.digest, offset), timeout=SECONDS)
            for message in call:
                objects.append(wanted, message.chunk)
                self._pace.spend(len(message.chunk), stop)
                if self._is_over(stop) and objects.held(wanted) < wanted.size:
                    call.cancel()
                    return
        if objects.held(wanted) < wanted.size:
            raise IntegrityFault("the coordinator sent less than it promised")
        objects.finish(wanted)
        self._desk.arrived(wanted.digest)
        log.info("object_fetched", digest=wanted.digest.hex()[:16], size=wanted.size)

    def _push(self, channel: grpc.Channel, task_id: str, approved_by: str, stop: Event) -> None:
        """Push an update from where the coordinator says it stands; each chunk is ledgered."""
        try:
            offset = self._held(channel, task_id)
            push = channel.stream_unary(
                f"{SERVICE}/Push",
                request_serializer=wire_bytes,
                response_deserializer=link_pb2.PushResponse.FromString,
            )
            size = self._gate.update_size(task_id)
            if offset < size:
                chunks = self._paced(self._gate.chunks(task_id, approved_by, offset), stop)
                future = push.future(chunks, SECONDS)
                while not future.done() and not self._is_over(stop):
                    stop.wait(0.05)
                if not future.done():
                    future.cancel()
                    return
                offset = future.result().held
            if offset >= size:
                self._pushed.add(task_id)
                log.info("update_pushed", task=task_id, size=size)
        except grpc.RpcError as fault:
            if refusal_of(fault)[0] not in UNWANTED:
                raise
            self._unwanted(task_id)

    def _paced(self, chunks: Iterator[Released], stop: Event) -> Iterator[Released]:
        """Yield chunks no faster than they may go; the next is in the ledger when it is drawn."""
        for chunk in chunks:
            yield chunk
            self._pace.spend(len(chunk.payload), stop)

    def _is_over(self, stop: Event) -> bool:
        return stop.is_set() or not self._pace.is_open()

    def _held(self, channel: grpc.Channel, task_id: str) -> int:
        ask = channel.unary_unary(
            f"{SERVICE}/Held",
            request_serializer=wire_bytes,
            response_deserializer=link_pb2.HeldResponse.FromString,
        )
        return int(ask(self._gate.held(task_id), timeout=SECONDS).held)

    def _unwanted(self, task_id: str) -> None:
        """After a few refusals tell the outcome without the update: that is the round's affair."""
        self._refused[task_id] = self._refused.get(task_id, 0) + 1
        if self._refused[task_id] >= REFUSALS_AT_MOST:
            self._pushed.add(task_id)
            log.warning("update_unwanted", task=task_id)

    def _unpushed(self) -> list[tuple[str, str]]:
        found = []
        for report in self._desk.outbox():
            if report.kind == Kind.OUTCOME and report.subject not in self._pushed:
                outcome = job_pb2.TaskOutcome.FromString(report.body)
                if outcome.update_digest:
                    found.append((outcome.task_id, report.approved_by))
        return found


def _reason(fault: Exception) -> str:
    if isinstance(fault, GatewayError):
        return str(fault)
    if isinstance(fault, grpc.RpcError):
        return refusal_of(fault)[0].name
    return type(fault).__name__
