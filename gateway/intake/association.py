"""One connection from accept to close: it drives the upper layer with what a socket delivers."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

from gateway.config import Intake, Peer
from gateway.intake.commitment import Commitments, write_report
from gateway.intake.commitment_door import Asked, CommitmentDesk
from gateway.intake.custody import Custody
from gateway.intake.dimse import (
    BadMessage,
    Command,
    CommandField,
    MessageReader,
    Reply,
    Status,
    encode_event_report,
    encode_response,
)
from gateway.intake.pace import Pace
from gateway.intake.pdu import AssociateRequest, Rejection
from gateway.intake.request import OnEvent, Request
from gateway.intake.rules import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    Admission,
    Refusal,
    accepted_contexts,
    first_status,
)
from gateway.intake.sockets import acknowledge_at_once, set_timeouts, tune
from gateway.intake.states import State
from gateway.intake.upper_layer import Aborted, Acceptor, Event, Fragment, ReleaseRequested
from gateway.model import Arrival, RealUID

BUFFER_BYTES: Final = 256 << 10  # what one recv may bring; measured: more brings nothing
TICK_SECONDS: Final = 0.5  # how often a silent connection looks at the clock and at `stop`
SEND_SECONDS: Final = 30.0  # a peer that does not read a response this long is gone
CLOSE_SECONDS: Final = 5.0  # ARTIM (PS3.8 9.1.5): how long the peer may take to close


class Hall(Protocol):
    """Where connections wait until they are associations, and are counted once they are."""

    def seat(self, association: "Association", peer: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Door:
    """What all connections of one receiver share."""

    config: Intake
    admission: Admission
    custody: Custody
    hall: Hall
    on_event: OnEvent
    stop: threading.Event
    commitments: Commitments | None  # None: no peer may ask for any
    has_room: Callable[[], bool]  # on the disk, above its reserve
    reading: threading.Lock = field(default_factory=threading.Lock)  # a commitment request


class Association:
    """A peer's connection, served by one thread."""

    def __init__(
        self, door: Door, connection: socket.socket, address: str, tls: ssl.SSLContext | None
    ) -> None:
        self._door = door
        self._connection = connection
        self._address = parse_address(address)
        self._tls = tls
        self._upper = Acceptor(door.config.max_pdu_bytes)
        self._messages = MessageReader()
        self._contexts: dict[int, tuple[str, str]] = {}
        self._caller = self._called = self._peer = ""
        self._request: Request | Asked | None = None
        self._parts: list[memoryview] = []  # of its dataset, in the buffer that recv fills
        self._desk: CommitmentDesk | None = None  # of a peer that may ask for commitment
        self._desk_context = 0
        self._message_id = 0
        self._grace_ends: float | None = None
        config = door.config
        self._pace = Pace(time.monotonic(), config.first_pdu_seconds, config.idle_seconds)

    def serve(self) -> None:
        """Talk until the association is over, whatever the peer does; leave nothing half done."""
        try:
            self._connect()
            self._talk()
            self._await_close()
        except (OSError, ValueError) as fault:  # ValueError: the socket was closed under us
            self._door.on_event("connection_lost", fault=type(fault).__name__)
        finally:
            if self._request is not None:
                self._request.abandon()
            self._connection.close()
            if self._desk is not None:
                self._desk.leave()

    def hang_up(self) -> None:
        """End the conversation from another thread: the next recv sees the end of the stream."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> None:
        tune(self._connection)
        if self._tls is None:
            set_timeouts(self._connection, TICK_SECONDS, SEND_SECONDS)
            return
        self._connection.settimeout(self._door.config.first_pdu_seconds)
        self._connection = self._tls.wrap_socket(
            self._connection, server_side=True, do_handshake_on_connect=False
        )
        self._connection.do_handshake()
        self._connection.settimeout(TICK_SECONDS)

    def _talk(self) -> None:
        view = memoryview(bytearray(BUFFER_BYTES))
        upper, connection, pace = self._upper, self._connection, self._pace
        while not upper.over:
            received = self._receive(view)
            if received == 0:
                upper.connection_closed()
                self._door.on_event("connection_lost", fault="closed by the peer")
                return
            now = time.monotonic()
            if received:
                acknowledge_at_once(connection)
                for event in upper.receive(view[:received]):
                    self._act(event)
                    if upper.has_outgoing:
                        self._flush()
                self._hand_over()
                self._flush()
            if self._messages.in_message:
                pace.in_message(now, received or 0)
            elif received is None and self._desk is not None:
                self._report(self._desk)
            self._look_at_the_clock(now)

    def _receive(self, view: memoryview) -> int | None:
        """Return how many bytes came: 0 at the end of the stream, None when none came in time."""
        try:
            return self._connection.recv_into(view)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return None

    def _look_at_the_clock(self, now: float) -> None:
        if self._upper.over:
            return
        if self._pace.too_slow(now):
            self._give_up("too slow")
        elif self._door.stop.is_set():
            if self._grace_ends is None:
                self._grace_ends = now + self._door.config.stop_grace_seconds
            if not self._messages.in_message or now >= self._grace_ends:
                self._give_up("this gateway is stopping")

    def _give_up(self, why: str) -> None:
        """End it from our side: without a word before there is an association (PS3.8 AA-2)."""
        if self._upper.state is State.AWAITING_REQUEST:
            self._upper.timer_expired()
        else:
            self._upper.abort()
            self._flush()
        self._door.on_event("association_aborted", by_peer=False, why=why, peer=self._peer)

    def _flush(self) -> None:
        if outgoing := self._upper.outgoing():
            if self._tls is None:
                self._connection.sendall(outgoing)
                return
            self._connection.settimeout(SEND_SECONDS)
            self._connection.sendall(outgoing)
            self._connection.settimeout(TICK_SECONDS)

    def _await_close(self) -> None:
        """Let the peer read our last word before the connection goes (Sta13)."""
        self._leave_message()
        view = memoryview(bytearray(4096))
        ends = time.monotonic() + (TICK_SECONDS if self._door.stop.is_set() else CLOSE_SECONDS)
        while self._upper.state is State.AWAITING_CLOSE:
            received = self._receive(view)
            if received == 0:
                self._upper.connection_closed()
            elif time.monotonic() >= ends:
                self._upper.timer_expired()

    def _leave_message(self) -> None:
        if self._request is not None:
            self._request.abandon()
            self._request = None

    def _act(self, event: Event) -> None:
        if isinstance(event, Fragment):
            try:
                self._take(event)
            except BadMessage as fault:
                self._give_up(str(fault))
        elif isinstance(event, AssociateRequest):
            self._answer(event)
        elif isinstance(event, ReleaseRequested):
            self._leave_message()
            self._upper.release()
            self._door.on_event("association_released")
        else:
            self._aborted(event)

    def _aborted(self, event: Aborted) -> None:
        facts = {"source": int(event.source), "reason": int(event.reason), "why": event.why}
        facts["peer"] = self._peer
        self._door.on_event("association_aborted", by_peer=event.by_peer, **facts)

    def _answer(self, request: AssociateRequest) -> None:
        """Accept the association or say why not (PS3.8 7.1)."""
        peer = self._admit(request)
        if isinstance(peer, Rejection):
            self._upper.reject(peer)
            facts = {"source": peer.source, "reason": peer.reason, "caller": request.calling_ae}
            self._door.on_event("association_rejected", **facts)
            return
        negotiated = self._door.admission.negotiate(request, peer)
        self._upper.accept(negotiated, request.max_length)
        self._contexts = accepted_contexts(request, negotiated)
        self._caller, self._called = request.calling_ae, request.called_ae
        self._peer = peer.name
        if peer.commitment and self._door.commitments is not None:
            self._desk = CommitmentDesk(
                self._door.commitments, peer.name, self._door.on_event, self._door.reading
            )
        self._pace.between_messages(time.monotonic())
        self._door.on_event("association_accepted", peer=peer.name)

    def _admit(self, request: AssociateRequest) -> Peer | Rejection:
        """Say who calls, or why not now: some senders only heed a refused association.

        Orthanc 1.10.1 takes 0xA700 for a success, so a full disk has to be said here already.
        """
        admission, shown = self._door.admission, self._fingerprint()
        peer = admission.caller(request, self._address, shown)
        if isinstance(peer, Rejection):
            claimed = admission.unproven(request, self._address)
            if peer == Refusal.CALLING_AE and claimed is not None:
                facts = {"address": str(self._address), "shown": shown or "none"}
                self._door.on_event("certificate_refused", peer=claimed.name, **facts)
            return peer
        if admission.would_store(request, peer) and not self._door.has_room():
            return Refusal.LOCAL_LIMIT
        return peer if self._door.hall.seat(self, peer.name) else Refusal.CONGESTION

    def _fingerprint(self) -> str | None:
        """Return the SHA-256 of the certificate the caller has shown and TLS has verified."""
        if not isinstance(self._connection, ssl.SSLSocket):
            return None
        certificate = self._connection.getpeercert(binary_form=True)
        return sha256(certificate).hexdigest() if certificate else None

    def _take(self, fragment: Fragment) -> None:
        context_id, is_command, last, data = fragment
        if is_command:
            command = self._messages.command_fragment(context_id, data, last=last)
            if isinstance(command, Reply):
                self._replied(command)
            elif command is not None:
                self._begin(context_id, command)
            return
        self._messages.dataset_fragment(context_id, last=last)
        if self._request is None:
            return  # an event reply (PS3.7 10.1.1.1.7): nothing of ours asks for one
        self._parts.append(data)
        if last:
            request = self._request
            self._hand_over()
            self._finish(context_id, request)

    def _hand_over(self) -> None:
        """Pass on what came of a dataset at once, before the buffer is filled anew.

        A recv brings several PDUs: their values written in one call cost less than one by one.
        """
        if self._parts:
            if self._request is not None:
                self._request.write(*self._parts)
            self._parts.clear()

    def _begin(self, context_id: int, command: Command) -> None:
        abstract_syntax, transfer_syntax = self._contexts[context_id]
        status = first_status(command, abstract_syntax)
        desk = self._desk
        if command.field == CommandField.N_ACTION and status is Status.SUCCESS:
            if desk is not None:
                self._desk_context = context_id
                self._request = Asked(command, desk, transfer_syntax, self._door.on_event)
                return
            status = Status.PROCESSING_FAILURE  # nobody here could keep the request
        request = self._request = Request(command, status, self._door.on_event)
        if command.field == CommandField.C_STORE and status is Status.SUCCESS:
            instance = RealUID(command.sop_instance.decode("ascii"))
            arrival = Arrival(
                abstract_syntax, instance, transfer_syntax, self._caller, self._called
            )
            request.begin(arrival, self._door.custody)
        if not command.has_dataset:
            self._finish(context_id, request)

    def _report(self, desk: CommitmentDesk) -> None:
        """Send a report that is due, while nothing else is being said (PS3.4 J.3.3)."""
        if self._upper.state is not State.ESTABLISHED:
            return
        report = desk.due()
        if report is None:
            return
        self._message_id = self._message_id % 0xFFFF + 1
        command = encode_event_report(
            COMMITMENT, COMMITMENT_INSTANCE, report.event_type, self._message_id
        )
        _, transfer_syntax = self._contexts[self._desk_context]
        self._upper.send_command(self._desk_context, command)
        self._upper.send_dataset(self._desk_context, write_report(report, transfer_syntax))
        self._messages.asked = self._message_id
        self._flush()
        self._door.on_event("commitment_reported")

    def _replied(self, reply: Reply) -> None:
        assert self._desk is not None
        self._desk.answered(reply.status)
        self._pace.between_messages(time.monotonic())

    def _finish(self, context_id: int, request: Request | Asked) -> None:
        self._request = None
        status, comment = request.finish()
        if (
            request.command.field != CommandField.C_CANCEL
        ):  # there is nothing to cancel (PS3.7 9.3.2.3)
            self._upper.send_command(context_id, encode_response(request.command, status, comment))
        self._pace.between_messages(time.monotonic())


def parse_address(host: str) -> IPv4Address | IPv6Address:
    return ip_address(host.partition("%")[0])  # without the zone of a link-local address
