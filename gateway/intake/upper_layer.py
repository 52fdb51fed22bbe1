"""The DICOM upper layer, acceptor's side, as a protocol without IO (PS3.8 9.2).

The rules of this file:

- bytes come in through `receive`, events come out of it, bytes to send are taken with `outgoing`;
- dataset bytes are never copied or joined: a `Fragment` is a view into what was received, good
  until the caller uses its buffer again;
- nothing is held but one incomplete PDU that is not P-DATA, and that is bounded;
- `receive` is lazy: answer an event (`accept`, `reject`, `release`...) before asking for the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from gateway.intake.pdu import (
    ASSOCIATE_REQUEST_AT_LEAST,
    ASSOCIATE_REQUEST_AT_MOST,
    HEADER,
    PDV_HEADER,
    SHORT_PDU,
    AbortReason,
    AbortSource,
    AssociateRequest,
    ContextResult,
    InvalidPdu,
    Negotiated,
    PduType,
    Rejection,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_data,
    encode_release_response,
)
from gateway.intake.states import NEXT, TABLE, Action, Happening, IllegalMove, State

COMMAND: Final = 0x01  # message control header, bit 0: command, else dataset (PS3.8 E.2)
LAST: Final = 0x02  # bit 1: last fragment of the command or dataset
_PDV_LEAST: Final = 2  # context ID and message control header


_ARRIVAL: Final = {
    PduType.ASSOCIATE_RQ: Happening.ASSOCIATE_RQ,
    PduType.ASSOCIATE_AC: Happening.ASSOCIATE_AC,
    PduType.ASSOCIATE_RJ: Happening.ASSOCIATE_RJ,
    PduType.DATA_TF: Happening.DATA_TF,
    PduType.RELEASE_RQ: Happening.RELEASE_RQ,
    PduType.RELEASE_RP: Happening.RELEASE_RP,
    PduType.ABORT: Happening.ABORT,
}


class Fragment(NamedTuple):
    """Part of a command or a dataset; `last` on the final part of the final fragment only."""

    context_id: int
    is_command: bool
    last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The peer is done (A-RELEASE indication); answer with `release`."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The association is over: by the peer's A-ABORT, or by ours because of what it sent."""

    by_peer: bool
    source: int
    reason: int
    why: str


Event: TypeAlias = AssociateRequest | Fragment | ReleaseRequested | Aborted


_DECIDED_BY_BODY: Final = frozenset(
    {Action.INDICATE_REQUEST, Action.INDICATE_DATA, Action.INDICATE_RELEASE}
    | {Action.INDICATE_ABORT, Action.CLOSE}
)


class Acceptor:
    """One association, from the first byte of its connection to the last."""

    def __init__(self, max_length: int) -> None:
        self.state = State.IDLE
        self._max_length = max_length  # of a P-DATA-TF the peer may send (PS3.8 D.1)
        self._peer_max_length = 0
        self._accepted: frozenset[int] = frozenset()
        self._outgoing: list[bytes] = []
        self._request = b""
        self._held = bytearray()  # what came of a header or of a PDU that must be whole
        self._wanted = HEADER.size
        self._kind: PduType | None = None  # None: between two PDUs
        self._pdu_left = self._pdv_left = self._skipped = 0
        self._context_id, self._control = 0, 0
        self._deaf = False  # after a fault nothing says where the next PDU begins
        self._happen(Happening.CONNECTED)

    @property
    def over(self) -> bool:
        """Nothing more will be said: what is outgoing goes, then the connection is closed."""
        return self.state is State.AWAITING_CLOSE or self.state is State.IDLE

    @property
    def has_outgoing(self) -> bool:
        return bool(self._outgoing)

    def outgoing(self) -> bytes:
        """Take what is to be sent."""
        taken = b"".join(self._outgoing)
        self._outgoing.clear()
        return taken

    def receive(self, data: memoryview) -> Iterator[Event]:
        """Say what the bytes mean, one event at a time."""
        at, end = 0, len(data)
        while at < end and not self._deaf:
            if self._pdv_left:
                taken = min(self._pdv_left, end - at)
                yield self._fragment(data[at : at + taken])
            elif self._skipped:
                taken = min(self._skipped, end - at)
                self._skipped -= taken
            elif not self._held and end - at >= self._wanted:
                taken = self._wanted
                if event := self._whole(bytes(data[at : at + taken])):
                    yield event
            else:
                taken = min(self._wanted - len(self._held), end - at)
                self._held += data[at : at + taken]
                if len(self._held) == self._wanted:
                    held = bytes(self._held)
                    self._held.clear()
                    if event := self._whole(held):
                        yield event
            at += taken

    def accept(self, negotiated: Negotiated, peer_max_length: int) -> None:
        self._happen(Happening.ACCEPT)
        self._peer_max_length = peer_max_length
        self._accepted = frozenset(
            context.context_id
            for context in negotiated.contexts
            if context.result is ContextResult.ACCEPTANCE
        )
        self._outgoing.append(encode_associate_accept(self._request, negotiated))
        self._request = b""

    def reject(self, rejection: Rejection) -> None:
        self._happen(Happening.REJECT)
        self._outgoing.append(encode_associate_reject(rejection))

    def release(self) -> None:
        self._happen(Happening.RELEASE)
        self._outgoing.append(encode_release_response())

    def abort(self) -> None:
        """End the association as the service user (PS3.8 9.3.8: no reason is given)."""
        self._happen(Happening.ABORT_REQUESTED)
        self._silence(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)

    def send_command(self, context_id: int, command: bytes) -> None:
        """Send a command, in fragments the peer can take (PS3.8 annex E)."""
        self._send(context_id, COMMAND, command)

    def send_dataset(self, context_id: int, dataset: bytes) -> None:
        """Send the dataset of the command before it."""
        self._send(context_id, 0, dataset)

    def _send(self, context_id: int, control: int, message: bytes) -> None:
        self._happen(Happening.SEND_DATA)
        room = len(message)
        if self._peer_max_length:
            room = min(room, max(2, self._peer_max_length - PDV_HEADER.size) & ~1)
        for at in range(0, len(message), room):
            last = LAST if at + room >= len(message) else 0
            piece = message[at : at + room]
            self._outgoing.append(encode_data(context_id, control | last, piece))

    def timer_expired(self) -> None:
        """Say that the peer took too long to ask for an association, or to close (PS3.8 9.1.5)."""
        self._happen(Happening.TIMER_EXPIRED)
        self._deaf = True

    def connection_closed(self) -> None:
        if self.state is not State.IDLE:
            self._happen(Happening.CLOSED)
        self._deaf = True

    def _happen(self, happening: Happening) -> Action:
        action = TABLE.get((happening, self.state))
        if action is None:
            raise IllegalMove(happening, self.state)
        self.state = NEXT[action]
        return action

    def _fragment(self, data: memoryview) -> Fragment:
        self._pdv_left -= len(data)
        self._pdu_left -= len(data)
        if not self._pdu_left:
            self._expect_pdu()
        return Fragment(
            self._context_id,
            bool(self._control & COMMAND),
            bool(self._control & LAST) and not self._pdv_left,
            data,
        )

    def _expect_pdu(self) -> None:
        self._kind, self._wanted = None, HEADER.size

    def _whole(self, part: bytes) -> Event | None:
        """Act on what has come whole: a PDU's header, a PDV's header or a body."""
        try:
            if self._kind is None:
                return self._begin_pdu(*HEADER.unpack(part))
            if self._kind is PduType.DATA_TF:
                return self._begin_pdv(*PDV_HEADER.unpack(part))
            return self._end_pdu(self._kind, part)
        except InvalidPdu as fault:
            return self._refuse(Happening.INVALID_PDU, fault.reason, str(fault))

    def _begin_pdu(self, number: int, length: int) -> Event | None:
        if number not in _ARRIVAL:
            raise InvalidPdu("PDU of an unknown type", AbortReason.UNRECOGNIZED_PDU)
        kind = PduType(number)
        action = TABLE[_ARRIVAL[kind], self.state]
        if action is Action.IGNORE:
            self._skipped = length
            return None
        if action not in _DECIDED_BY_BODY:
            why = f"{kind.name} in {self.state.name}"
            return self._refuse(_ARRIVAL[kind], AbortReason.UNEXPECTED_PDU, why)
        self._kind, self._pdu_left = kind, length
        self._wanted = length
        if kind is PduType.DATA_TF:
            self._wanted = PDV_HEADER.size
            check_length(kind, length, PDV_HEADER.size, self._max_length)
        elif kind is PduType.ASSOCIATE_RQ:
            check_length(kind, length, ASSOCIATE_REQUEST_AT_LEAST, ASSOCIATE_REQUEST_AT_MOST)
        else:
            check_length(kind, length, SHORT_PDU, SHORT_PDU)
        return None

    def _begin_pdv(self, length: int, context_id: int, control: int) -> Fragment | None:
        """Begin a presentation data value (PS3.8 9.3.5.1); an empty one is a fragment at once."""
        self._pdu_left -= PDV_HEADER.size
        self._pdv_left = length - _PDV_LEAST
        after = self._pdu_left - self._pdv_left
        if self._pdv_left < 0 or after < 0 or 0 < after < PDV_HEADER.size:
            raise InvalidPdu("presentation data value that does not fit its PDU")
        if context_id not in self._accepted:
            raise InvalidPdu("presentation context that was not accepted")
        self._context_id, self._control = context_id, control
        return None if self._pdv_left else self._fragment(memoryview(b""))

    def _end_pdu(self, kind: PduType, body: bytes) -> Event:
        self._expect_pdu()
        if kind is PduType.ASSOCIATE_RQ:
            request = decode_associate_request(body)
            self._happen(Happening.ASSOCIATE_RQ)
            self._request = body
            return request
        self._happen(_ARRIVAL[kind])
        if kind is PduType.RELEASE_RQ:
            return ReleaseRequested()
        self._deaf = True
        return Aborted(by_peer=True, source=body[2], reason=body[3], why="the peer aborted")

    def _refuse(self, happening: Happening, reason: AbortReason, why: str) -> Aborted:
        """Abort because of what the peer sent (AA-1, AA-7, AA-8)."""
        source = AbortSource.SERVICE_PROVIDER
        if self._happen(happening) is Action.ABORT_AS_USER:
            source, reason = AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED
        self._silence(source, reason)
        return Aborted(by_peer=False, source=source, reason=reason, why=why)

    def _silence(self, source: AbortSource, reason: AbortReason) -> None:
        self._outgoing.append(encode_abort(source, reason))
        self._deaf = True


def check_length(kind: PduType, length: int, least: int, most: int) -> None:
    if not least <= length <= most:
        raise InvalidPdu(f"{kind.name} of a wrong length")
