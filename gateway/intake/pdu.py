"""The upper layer's PDUs as bytes (PS3.8 9.3): what is decoded is bounded and checked first."""

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

HEADER: Final = Struct(">BxI")  # type, reserved, length
PDV_HEADER: Final = Struct(">IBB")  # length, context ID, message control header (PS3.8 9.3.5.1)
_ITEM: Final = Struct(">BxH")
_FIXED: Final = Struct(">H2x16s16s32x")  # of A-ASSOCIATE-RQ and -AC (PS3.8 9.3.2, 9.3.3)
_CONTEXT: Final = Struct(">BxxxBxH")  # context ID, then the abstract syntax's sub-item header
_ROLE_TAIL: Final = 2

# 128 contexts with every transfer syntax there is take about 170 kB.
ASSOCIATE_REQUEST_AT_MOST: Final = 512 << 10
ASSOCIATE_REQUEST_AT_LEAST: Final = _FIXED.size
SHORT_PDU: Final = 4  # A-RELEASE-RQ, A-RELEASE-RP, A-ABORT (PS3.8 9.3.6 to 9.3.8)
PROTOCOL_VERSION: Final = 1  # only bit 0 is tested (PS3.8 9.3.2)
APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1


class PduType(IntEnum):
    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class Item(IntEnum):
    """Items and sub-items (PS3.8 9.3.2 and annex D, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    CONTEXT_PROPOSED = 0x20
    CONTEXT_ANSWERED = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS = 0x52
    ASYNCHRONOUS_OPERATIONS = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55
    EXTENDED_NEGOTIATION = 0x56


class AbortSource(IntEnum):
    """PS3.8 9.3.8."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """PS3.8 9.3.8; significant when the source is the service provider."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class Rejection(NamedTuple):
    """The three fields of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 provider (ACSE), 3 provider (presentation)
    reason: int


class ContextResult(IntEnum):
    """PS3.8 9.3.3.2."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class InvalidPdu(ValueError):
    """The peer sent what PS3.8 does not allow; the text names the field, never its content."""

    def __init__(self, what: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(what)
        self.reason = reason


class ProposedContext(NamedTuple):
    """A presentation context as proposed; UIDs stay bytes, since most are only looked up."""

    context_id: int
    abstract_syntax: bytes
    transfer_syntaxes: tuple[bytes, ...]


class AnsweredContext(NamedTuple):
    context_id: int
    result: ContextResult
    transfer_syntax: bytes  # not significant unless accepted


class Role(NamedTuple):
    """SCP/SCU role selection (PS3.7 D.3.3.4), as seen from the requestor."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    protocol_version: int
    called_ae: str
    calling_ae: str
    application_context: bytes
    contexts: tuple[ProposedContext, ...]
    max_length: int = 0  # 0: no limit (PS3.8 D.1)
    roles: dict[bytes, Role] = field(default_factory=dict)
    extended: dict[bytes, bytes] = field(default_factory=dict)  # SOP class -> its information
    asynchronous: bool = False
    implementation_class: bytes = b""
    implementation_version: bytes = b""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What an A-ASSOCIATE-AC says beyond the echo of the request (PS3.8 9.3.3)."""

    contexts: tuple[AnsweredContext, ...]
    max_length: int
    implementation_class: bytes
    implementation_version: bytes
    roles: dict[bytes, Role] = field(default_factory=dict)
    extended: dict[bytes, bytes] = field(default_factory=dict)
    asynchronous: bool = False


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Read the body of an A-ASSOCIATE-RQ; unknown items are skipped (PS3.8 9.3.1)."""
    if len(body) < _FIXED.size:
        raise InvalidPdu("A-ASSOCIATE-RQ shorter than its fixed fields")
    version, called, calling = _FIXED.unpack_from(body)
    contexts: dict[int, ProposedContext] = {}
    known: dict[bytes, tuple[bytes, ...]] = {}
    application_context, user = b"", b""
    for kind, value in _items(body, _FIXED.size):
        if kind == Item.CONTEXT_PROPOSED:
            context = _proposed_context(value, known)
            if context.context_id in contexts:
                raise InvalidPdu("presentation context ID used twice")
            contexts[context.context_id] = context
        elif kind == Item.APPLICATION_CONTEXT:
            application_context = _uid(value)
        elif kind == Item.USER_INFORMATION:
            user = value
    if not contexts:
        raise InvalidPdu("no presentation context")
    return AssociateRequest(
        version,
        _ae_title(called),
        _ae_title(calling),
        application_context,
        tuple(contexts.values()),
        *_user_information(user),
    )


def _items(body: bytes, at: int = 0) -> list[tuple[int, bytes]]:
    """Split items (type, reserved, length, value); they must fill the body exactly."""
    items, end = [], len(body)
    while at < end:
        if end - at < _ITEM.size:
            raise InvalidPdu("item header cut short")
        kind, length = _ITEM.unpack_from(body, at)
        at += _ITEM.size
        if length > end - at:
            raise InvalidPdu("item longer than what holds it")
        items.append((kind, body[at : at + length]))
        at += length
    return items


def _proposed_context(value: bytes, known: dict[bytes, tuple[bytes, ...]]) -> ProposedContext:
    """Read one proposed context (PS3.8 9.3.2.2): its ID, its abstract, then its transfer syntaxes.

    Senders repeat one list of transfer syntaxes in every context: `known` reads it once.
    """
    if len(value) < _CONTEXT.size:
        raise InvalidPdu("presentation context shorter than its fixed fields")
    context_id, kind, length = _CONTEXT.unpack_from(value)
    abstract_end = _CONTEXT.size + length
    if kind != Item.ABSTRACT_SYNTAX or abstract_end > len(value):
        raise InvalidPdu("presentation context does not begin with an abstract syntax")
    if not context_id & 1:
        raise InvalidPdu("presentation context ID is even")
    rest = value[abstract_end:]
    if (transfers := known.get(rest)) is None:
        transfers = known[rest] = tuple(
            _uid(value) for kind, value in _items(rest) if kind == Item.TRANSFER_SYNTAX
        )
    if not transfers:
        raise InvalidPdu("presentation context without a transfer syntax")
    return ProposedContext(context_id, _uid(value[_CONTEXT.size : abstract_end]), transfers)


def _user_information(
    body: bytes,
) -> tuple[int, dict[bytes, Role], dict[bytes, bytes], bool, bytes, bytes]:
    """Read what we answer to; user identity and common extended negotiation need no answer.

    An acceptor that does not support user identity sends no response to it
    (PS3.7 D.3.3.7), and the common extended item never has one (PS3.7 D.3.3.6).
    """
    max_length, asynchronous = 0, False
    roles: dict[bytes, Role] = {}
    extended: dict[bytes, bytes] = {}
    implementation = {Item.IMPLEMENTATION_CLASS: b"", Item.IMPLEMENTATION_VERSION: b""}
    for kind, value in _items(body):
        if kind == Item.MAXIMUM_LENGTH:
            max_length = _exactly(value, 4, "maximum length")
        elif kind == Item.ASYNCHRONOUS_OPERATIONS:
            _exactly(value, 4, "asynchronous operations window")
            asynchronous = True
        elif kind == Item.ROLE_SELECTION:
            uid, tail = _led_by_uid(value)
            if len(tail) != _ROLE_TAIL:
                raise InvalidPdu("role selection of a wrong length")
            roles[uid] = Role(bool(tail[0]), bool(tail[1]))
        elif kind == Item.EXTENDED_NEGOTIATION:
            uid, extended_value = _led_by_uid(value)
            extended[uid] = extended_value
        elif kind in (Item.IMPLEMENTATION_CLASS, Item.IMPLEMENTATION_VERSION):
            implementation[Item(kind)] = _uid(value)
    uid, version = implementation.values()
    return max_length, roles, extended, asynchronous, uid, version


def _exactly(value: bytes, size: int, what: str) -> int:
    if len(value) != size:
        raise InvalidPdu(f"{what} of a wrong length")
    return int.from_bytes(value, "big")


def _led_by_uid(value: bytes) -> tuple[bytes, bytes]:
    """Split what begins with a UID's length (2 bytes) and the UID."""
    length = int.from_bytes(value[:2], "big")
    if len(value) < 2 + length:
        raise InvalidPdu("UID longer than the sub-item that holds it")
    return _uid(value[2 : 2 + length]), value[2 + length :]


def _uid(value: bytes) -> bytes:
    """Strip padding: UIDs travel unpadded (PS3.8 annex F), but some peers pad all the same."""
    return value.rstrip(b"\0 ")


def _ae_title(value: bytes) -> str:
    """Leading and trailing spaces are not significant (PS3.8 9.3.2)."""
    return value.decode("ascii", "replace").strip(" \0")


def encode_associate_accept(request: bytes, negotiated: Negotiated) -> bytes:
    """Write an A-ASSOCIATE-AC; the AE titles of the request's body are sent back as they came."""
    body = [
        _FIXED.pack(PROTOCOL_VERSION, request[4:20], request[20:36]),
        _item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT),
    ]
    body += [
        _item(
            Item.CONTEXT_ANSWERED,
            bytes((context.context_id, 0, context.result, 0))
            + _item(Item.TRANSFER_SYNTAX, context.transfer_syntax),
        )
        for context in negotiated.contexts
    ]
    body.append(_item(Item.USER_INFORMATION, _encode_user_information(negotiated)))
    return _pdu(PduType.ASSOCIATE_AC, b"".join(body))


def _encode_user_information(negotiated: Negotiated) -> bytes:
    items = [
        _item(Item.MAXIMUM_LENGTH, negotiated.max_length.to_bytes(4, "big")),
        _item(Item.IMPLEMENTATION_CLASS, negotiated.implementation_class),
    ]
    if negotiated.asynchronous:
        items.append(_item(Item.ASYNCHRONOUS_OPERATIONS, b"\0\1\0\1"))  # one each way
    items += [
        _item(Item.ROLE_SELECTION, _lead(uid) + bytes((role.scu, role.scp)))
        for uid, role in negotiated.roles.items()
    ]
    items.append(_item(Item.IMPLEMENTATION_VERSION, negotiated.implementation_version))
    items += [
        _item(Item.EXTENDED_NEGOTIATION, _lead(uid) + value)
        for uid, value in negotiated.extended.items()
    ]
    return b"".join(items)


def encode_associate_reject(rejection: Rejection) -> bytes:
    return _pdu(PduType.ASSOCIATE_RJ, bytes((0, *rejection)))


def encode_release_response() -> bytes:
    return _pdu(PduType.RELEASE_RP, bytes(SHORT_PDU))


def encode_abort(source: AbortSource, reason: AbortReason) -> bytes:
    return _pdu(PduType.ABORT, bytes((0, 0, source, reason)))


def encode_data(context_id: int, control: int, value: bytes) -> bytes:
    """Write a P-DATA-TF with one presentation data value (PS3.8 9.3.5)."""
    return _pdu(PduType.DATA_TF, PDV_HEADER.pack(2 + len(value), context_id, control) + value)


def _pdu(kind: PduType, body: bytes) -> bytes:
    return HEADER.pack(kind, len(body)) + body


def _item(kind: Item, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _lead(uid: bytes) -> bytes:
    return len(uid).to_bytes(2, "big") + uid
