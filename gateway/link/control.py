"""The control stream: hello, heartbeats and reports go out, work comes in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic
from typing import Protocol

import grpc
import structlog

from gateway.config import Federation
from gateway.desk.book import Report
from gateway.link.channel import wire_bytes
from gateway.link.rules import RESEND_SECONDS, skew_fault, version_fault
from gateway.link.status import LinkState, StatusBoard
from gateway.release.condition import Condition
from gateway.release.gate import Gate, GateShut, Released
from gateway.release.rules import Kind
from protos.job_manifest import MetricSpec
from protos.v1 import job_pb2, link_pb2, question_pb2, sum_pb2
from protos.vocabulary import PROTOCOL_VERSIONS

METHOD = "/radfed.v1.LinkService/Connect"
POLL_SECONDS = 0.5  # a steward's command writes from another process
PARTING_SECONDS = 3.0
EXCHANGE_SECONDS = 3600.0
REPLIES = 2  # to one exchange: to our statement, and to the one that the first reply asks for

log = structlog.get_logger()


class ControlDesk(Protocol):
    """What the stream needs of the desk."""

    def take_question(self, question: question_pb2.Question) -> None: ...
    def take_offer(self, offer: job_pb2.JobOffer) -> None: ...
    def take_task(self, task: job_pb2.RoundTask) -> None: ...
    def take_sum(self, call: sum_pb2.SumCall) -> None: ...
    def withdraw(self, job_id: str) -> None: ...
    def settled(self, report_id: str) -> None: ...
    def manifest_version(self) -> int: ...
    def take_manifest(self, raw: bytes) -> None: ...
    def outbox(self) -> list[Report]: ...
    def declared_metrics(self, task_id: str) -> tuple[MetricSpec, ...]: ...
    def declared_names(self, task_id: str) -> frozenset[str]: ...
    def kept_in(self, report: Report, code: str) -> None: ...
    def wait_for_news(self, seconds: float) -> None: ...


class Exchanging(Protocol):
    """What the stream needs of the notary."""

    def statement(self) -> link_pb2.CheckpointExchange: ...
    def hear(self, said: link_pb2.CheckpointExchange) -> bool: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What this house says of itself beside its reports: how it is, and where its chains are."""

    condition: Callable[[], Condition | None] = lambda: None
    notary: Exchanging | None = None
    exchange_seconds: float = EXCHANGE_SECONDS


class HungUp(Exception):
    """We end the conversation; the status says why."""

    def __init__(self, state: LinkState, says: str) -> None:
        super().__init__(says)
        self.state = state
        self.says = says


ALONE = Standing()


class Conversation:
    """One connection's worth of the control stream."""

    def __init__(
        self,
        gate: Gate,
        desk: ControlDesk,
        board: StatusBoard,
        settings: Federation,
        version: str,
        is_pushed: Callable[[str], bool],
        now: Callable[[], datetime],
        standing: Standing = ALONE,
    ) -> None:
        self._gate = gate
        self._desk = desk
        self._board = board
        self._settings = settings
        self._version = version
        self._is_pushed = is_pushed
        self._now = now
        self._ending = Event()  # our side says no more
        self._over = Event()  # nobody does
        self._welcomed = Event()
        self._asked = Event()  # the coordinator keeps another checkpoint than we thought
        self._standing = standing
        self._exchanged = -standing.exchange_seconds
        self._replies = 0  # that are still heard: what a coordinator says unasked costs nothing
        self._beat_seconds = settings.heartbeat_seconds
        self._sent: dict[str, float] = {}

    @property
    def welcomed(self) -> bool:
        return self._welcomed.is_set()

    def run(self, channel: grpc.Channel, stop: Event) -> None:
        """Talk until the coordinator hangs up or `stop` is set; a failed call raises RpcError."""
        connect = channel.stream_stream(
            METHOD,
            request_serializer=wire_bytes,
            response_deserializer=link_pb2.ConnectResponse.FromString,
        )
        call = connect(self._outgoing())
        guard = Thread(target=self._leave_on, args=(stop, call), name="link-stop", daemon=True)
        guard.start()
        try:
            for message in call:
                self._board.heard()
                self._take(message)
        finally:
            self._ending.set()
            self._over.set()
            call.cancel()
            guard.join()

    def _leave_on(self, stop: Event, call: grpc.Call) -> None:
        """On `stop`, end our side and let the coordinator read all of it before we leave."""
        while not self._over.wait(POLL_SECONDS / 5):
            if stop.is_set():
                self._ending.set()
                self._over.wait(PARTING_SECONDS)
                call.cancel()
                return

    def _outgoing(self) -> Iterator[Released]:
        """Yield what is to be sent; drawing the next one writes it into the ledger."""
        yield self._gate.hello(self._version, self._desk.manifest_version())
        beaten = monotonic()
        while not self._ending.is_set():
            if monotonic() - beaten >= self._beat_seconds:
                beaten = monotonic()
                yield self._gate.heartbeat(self._standing.condition())
            if self._welcomed.is_set():
                yield from self._checkpoint()
                yield from self._reports()
            self._desk.wait_for_news(min(POLL_SECONDS, self._beat_seconds))

    def _checkpoint(self) -> Iterator[Released]:
        """Say where the chains are: after the welcome, when asked, and every so often."""
        notary = self._standing.notary
        due = monotonic() >= self._exchanged + self._standing.exchange_seconds
        if notary is not None and (due or self._asked.is_set()):
            self._asked.clear()
            self._exchanged = monotonic()
            if due:
                self._replies = REPLIES
            try:
                yield self._gate.checkpoint(notary.statement())
            except GateShut as fault:
                code = fault.withheld.code
                log.error("gate_shut", kind=Kind.CHECKPOINT.value, code=code)  # noqa: TRY400 - no text of exceptions in logs

    def _reports(self) -> Iterator[Released]:
        for report in self._desk.outbox():
            if self._ending.is_set():
                return
            silence = monotonic() - self._sent.get(report.report_id, -RESEND_SECONDS)
            if silence >= RESEND_SECONDS and (released := self._release(report)) is not None:
                self._sent[report.report_id] = monotonic()
                yield released

    def _release(self, report: Report) -> Released | None:
        """Pass a report through the gate; None while its update is on the way, or kept in."""
        try:
            return self._passed(report)
        except GateShut as fault:
            self._desk.kept_in(report, fault.withheld.code)
            log.error("gate_shut", kind=report.kind, code=fault.withheld.code)  # noqa: TRY400 - no text of exceptions in logs
            return None

    def _passed(self, report: Report) -> Released | None:
        if report.kind == Kind.ANSWER:
            answer = question_pb2.Answer.FromString(report.body)
            return self._gate.answer(report.report_id, answer)
        if report.kind == Kind.DECISION:
            decision = job_pb2.JobDecision.FromString(report.body)
            return self._gate.decision(report.report_id, decision, report.approved_by)
        if report.kind == Kind.SUM:
            step = sum_pb2.SumReport.FromString(report.body)
            return self._gate.sum_step(report.report_id, step, report.approved_by)
        outcome = job_pb2.TaskOutcome.FromString(report.body)
        if outcome.update_digest and not self._is_pushed(outcome.task_id):
            return None  # the update first: whoever hears of it must be able to use it
        metrics = self._desk.declared_metrics(outcome.task_id)
        names = self._desk.declared_names(outcome.task_id)
        return self._gate.outcome(report.report_id, outcome, report.approved_by, metrics, names)

    def _take(self, message: link_pb2.ConnectResponse) -> None:
        body = message.WhichOneof("body")
        if body == "welcome":
            self._greet(message.welcome)
        elif not self._welcomed.is_set():
            raise HungUp(LinkState.VERSION, "the coordinator speaks before it has said welcome")
        elif body == "checkpoint":
            self._compare(message.checkpoint)
        else:
            self._hand_on(body, message)

    def _hand_on(self, body: str | None, message: link_pb2.ConnectResponse) -> None:
        """Give the desk what is the desk's."""
        desk = self._desk
        takers: dict[str, Callable[[], None]] = {
            "settled": lambda: desk.settled(message.settled.report_id),
            "question": lambda: desk.take_question(message.question),
            "job_offer": lambda: desk.take_offer(message.job_offer),
            "round_task": lambda: desk.take_task(message.round_task),
            "sum": lambda: desk.take_sum(message.sum),
            "manifest": lambda: desk.take_manifest(message.manifest.content),
            "withdrawal": lambda: desk.withdraw(message.withdrawal.job_id),
        }
        if (take := takers.get(body or "")) is not None:
            take()
        else:
            log.warning("unknown_message")  # of a newer coordinator: not for us

    def _compare(self, said: link_pb2.CheckpointExchange) -> None:
        notary = self._standing.notary
        if notary is None or not self._replies:
            return
        self._replies -= 1
        if notary.hear(said) and self._replies:
            self._asked.set()

    def _greet(self, welcome: link_pb2.Welcome) -> None:
        """Check the coordinator's choice of version and its clock before anything is said."""
        if (fault := version_fault(welcome.protocol_version, PROTOCOL_VERSIONS)) is not None:
            raise HungUp(LinkState.VERSION, fault)
        skew = (welcome.clock.ToDatetime(UTC) - self._now()).total_seconds()
        if (fault := skew_fault(skew, self._settings.clock_skew_seconds_at_most)) is not None:
            self._board.change(LinkState.CLOCK, fault, clock_skew_seconds=-skew)
            raise HungUp(LinkState.CLOCK, fault)
        if welcome.heartbeat_seconds:
            self._beat_seconds = min(self._beat_seconds, float(welcome.heartbeat_seconds))
        connections = self._board.status.connections + 1
        self._board.change(LinkState.CONNECTED, clock_skew_seconds=-skew, connections=connections)
        log.info("link_connected", skew_seconds=round(-skew, 3))
        self._welcomed.set()
