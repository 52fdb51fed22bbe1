"""The bulk connection: bundles and weights come, released updates go, resumed by offset."""

from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic
from typing import Protocol

import grpc
import structlog

from gateway.desk.book import Report
from gateway.desk.objects import Objects, Wanted
from gateway.errors import GatewayError, IntegrityFault
from gateway.link.channel import refusal_of, wire_bytes
from gateway.link.pace import Pace
from gateway.link.rules import delay
from gateway.link.stride import Stretch, Stride
from gateway.release.gate import Gate, Released
from gateway.release.rules import Kind
from protos.v1 import job_pb2, link_pb2

SERVICE = "/radfed.v1.LinkService"
SECONDS = 600.0
IDLE_SECONDS = 0.5
DONE_SECONDS = 0.01  # between two looks at whether a call has ended
HANG_UP_SECONDS = 10.0  # without anything to move
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


class KeepsLess(IntegrityFault):
    def __init__(self) -> None:
        super().__init__("the coordinator keeps less than it is sent")


class BulkDesk(Protocol):
    """What the bulk connection needs of the desk."""

    @property
    def objects(self) -> Objects: ...
    def wanted(self) -> list[Wanted]: ...
    def arrived(self, digest: bytes) -> None: ...
    def pushed(self) -> None: ...
    def outbox(self) -> list[Report]: ...
    def wait_for_objects(self, seconds: float) -> None: ...


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
        self._up, self._down = Stride(), Stride()
        self._held_there: dict[str, int] = {}
        self._progressed = False
        self._refused: dict[str, int] = {}

    def is_pushed(self, task_id: str) -> bool:
        return task_id in self._pushed

    def run(self, open_channel: Callable[[], grpc.Channel], stop: Event) -> None:
        failures = 0
        while not stop.is_set():
            if not (self._is_up() and self._pace.is_open() and self._has_work()):
                self._desk.wait_for_objects(IDLE_SECONDS)
                continue
            try:
                with open_channel() as channel:
                    self._work(channel, stop)
                failures = 0
            except (grpc.RpcError, grpc.FutureTimeoutError, GatewayError, OSError) as fault:
                # A link that is cut again and again, and carries something each time, is used.
                failures = 1 if self._progressed else failures + 1
                self._progressed = False
                log.warning("bulk_failed", why=_reason(fault))
                stop.wait(delay(failures, self._at_most, self._draw))

    def _has_work(self) -> bool:
        return bool(self._desk.wanted() or self._unpushed())

    def _work(self, channel: grpc.Channel, stop: Event) -> None:
        """Do what there is to do, and what comes up meanwhile, over one connection."""
        grpc.channel_ready_future(channel).result(timeout=10)
        busy = monotonic()
        while not self._is_over(stop) and monotonic() - busy < HANG_UP_SECONDS:
            for wanted in self._desk.wanted():
                self._fetch(channel, wanted, stop)
                busy = monotonic()
            for task_id, approved_by in self._unpushed():
                self._push(channel, task_id, approved_by, stop)
                busy = monotonic()
            self._desk.wait_for_objects(IDLE_SECONDS)

    def _fetch(self, channel: grpc.Channel, wanted: Wanted, stop: Event) -> None:
        """Fetch an object from where the last attempt ended, and check it against its name."""
        objects = self._desk.objects
        while (offset := objects.held(wanted)) < wanted.size and not self._is_over(stop):
            self._fetch_stretch(channel, wanted, offset, stop)
        if objects.held(wanted) < wanted.size:
            return
        objects.finish(wanted)
        self._desk.arrived(wanted.digest)
        log.info("object_fetched", digest=wanted.digest.hex()[:16], size=wanted.size)

    def _fetch_stretch(
        self, channel: grpc.Channel, wanted: Wanted, offset: int, stop: Event
    ) -> None:
        """Fetch as much as the link carries in a little while; IntegrityFault where nothing came.

        A coordinator of before sends to the end, in chunks of its own: that is taken, too.
        """
        fetch = channel.unary_stream(
            f"{SERVICE}/Fetch",
            request_serializer=wire_bytes,
            response_deserializer=link_pb2.FetchResponse.FromString,
        )
        stride, began, came, moved = self._down, monotonic(), 0, False
        asked = self._gate.fetch(wanted.digest, offset, stride.stretch, stride.chunk())
        call = fetch(asked, timeout=SECONDS)
        for message in call:
            if message.HasField("repeat"):
                again = message.repeat
                self._desk.objects.repeat(wanted, again.source, again.length)
            else:
                self._desk.objects.append(wanted, message.chunk)
            self._progressed = moved = True
            came += len(message.chunk)
            self._pace.spend(len(message.chunk), stop)
            if self._is_over(stop):
                call.cancel()
                return
        if not moved:
            raise IntegrityFault("the coordinator sent less than it promised")
        stride.carried(came, monotonic() - began)

    def _push(self, channel: grpc.Channel, task_id: str, approved_by: str, stop: Event) -> None:
        """Push an update from where the coordinator says it stands; each chunk is ledgered."""
        try:
            standing = self._held(channel, task_id)
            offset = int(standing.held)
            self._progressed |= offset > self._held_there.get(task_id, 0)
            self._held_there[task_id] = offset
            size = self._gate.update_size(task_id)
            drawn = self._gate.chunks(
                task_id, approved_by, offset, self._up.chunk, repeats=standing.repeats
            )
            chunks = self._paced(drawn, stop)
            while offset < size:
                held = self._push_stretch(channel, chunks, stop)
                if self._is_over(stop):
                    return
                if held <= offset:  # asked again and again it would say so for ever
                    raise KeepsLess
                self._progressed = True
                offset = held
            if offset >= size:
                self._pushed.add(task_id)
                self._desk.pushed()
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

    def _push_stretch(self, channel: grpc.Channel, chunks: Iterator[Released], stop: Event) -> int:
        """Push what the link carries in a little while; return how much the coordinator has."""
        push = channel.stream_unary(
            f"{SERVICE}/Push",
            request_serializer=wire_bytes,
            response_deserializer=link_pb2.PushResponse.FromString,
        )
        going, began = Stretch(chunks, self._up.stretch), monotonic()
        future = push.future(going, SECONDS)
        while not (future.done() or self._is_over(stop)):
            stop.wait(DONE_SECONDS)
        if not future.done():
            future.cancel()
            return 0
        held = int(future.result().held)
        if not going.bytes:  # all of it went, and some of it is asked for still
            raise KeepsLess
        self._up.carried(going.bytes, monotonic() - began)
        return held

    def _held(self, channel: grpc.Channel, task_id: str) -> link_pb2.HeldResponse:
        ask = channel.unary_unary(
            f"{SERVICE}/Held",
            request_serializer=wire_bytes,
            response_deserializer=link_pb2.HeldResponse.FromString,
        )
        standing: link_pb2.HeldResponse = ask(self._gate.held(task_id), timeout=SECONDS)
        return standing

    def _unwanted(self, task_id: str) -> None:
        """After a few refusals tell the outcome without the update: that is the round's affair."""
        self._refused[task_id] = self._refused.get(task_id, 0) + 1
        if self._refused[task_id] >= REFUSALS_AT_MOST:
            self._pushed.add(task_id)
            self._desk.pushed()
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
