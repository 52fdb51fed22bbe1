"""DIMSE commands (PS3.7) as bytes and messages, without IO: C-ECHO, C-STORE, storage commitment.

Command sets are Implicit VR Little Endian, group 0000 only (PS3.7 6.3.1). They are read and written
here without pydicom, because every stored instance pays for one of each.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

_ELEMENT: Final = Struct("<HHI")  # group, element, length
_SHORT: Final = Struct("<H")
_SHORT_ELEMENT: Final = Struct("<HHIH")
_GROUP_LENGTH: Final = Struct("<HHII")

_UID: Final = re.compile(rb"[0-9]+(?:\.[0-9]+)*")

COMMAND_AT_MOST: Final = 16 << 10  # bytes; a C-STORE-RQ takes about 200
COMMENT_AT_MOST: Final = 64  # characters, VR LO (PS3.7 C.4.2)
NO_DATASET: Final = 0x0101  # PS3.7 E.1, Command Data Set Type
WITH_DATASET: Final = 0x0001
RESPONSE: Final = 0x8000  # set in the command field of every response
UID_AT_MOST: Final = 64  # PS3.5 9.1


class Element(IntEnum):
    """Elements of group 0000 (PS3.7 E.1)."""

    AFFECTED_SOP_CLASS = 0x0002
    REQUESTED_SOP_CLASS = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    RESPONDED_MESSAGE_ID = 0x0120
    DATASET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE = 0x1000
    REQUESTED_SOP_INSTANCE = 0x1001
    EVENT_TYPE = 0x1002
    ACTION_TYPE = 0x1008


class CommandField(IntEnum):
    """PS3.7 E.1, the requests an SCP could be sent."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


# These name their object in the Requested elements and are answered with the Affected ones
# (PS3.7 10.3).
_REQUESTED: Final = frozenset(
    {CommandField.N_GET, CommandField.N_SET, CommandField.N_ACTION, CommandField.N_DELETE}
)


class Status(IntEnum):
    """The statuses we answer with (PS3.7 annex C, PS3.4 B.2.3)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_SOP_INSTANCE = 0x0112
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DATASET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class BadMessage(ValueError):
    """A message no response can be given to: the association is aborted."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request, as far as we read one."""

    field: int
    message_id: int
    sop_class: bytes
    sop_instance: bytes
    has_dataset: bool
    action_type: int | None = None  # of an N-ACTION (PS3.7 10.1.4)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response to a request of ours."""

    field: int
    message_id: int  # of the request
    status: int
    has_dataset: bool


def decode_message(data: bytes) -> Command | Reply:
    """Read a request or a response; what cannot be understood is a BadMessage."""
    elements = _elements(data)
    field = _number(elements, Element.COMMAND_FIELD)
    if not field & RESPONSE:
        return decode_command(data)
    return Reply(
        field,
        _number(elements, Element.RESPONDED_MESSAGE_ID),
        _number(elements, Element.STATUS),
        _number(elements, Element.DATASET_TYPE) != NO_DATASET,
    )


def decode_command(data: bytes) -> Command:
    """Read a request; what cannot be answered is a BadMessage."""
    elements = _elements(data)
    field = _number(elements, Element.COMMAND_FIELD)
    if field & RESPONSE:
        raise BadMessage("a response where a request belongs")
    requested = field in _REQUESTED
    sop_class = Element.REQUESTED_SOP_CLASS if requested else Element.AFFECTED_SOP_CLASS
    instance = Element.REQUESTED_SOP_INSTANCE if requested else Element.AFFECTED_SOP_INSTANCE
    message_id = 0  # C-CANCEL names the message it cancels instead, and is not answered
    if field != CommandField.C_CANCEL:
        message_id = _number(elements, Element.MESSAGE_ID)
    return Command(
        field,
        message_id,
        _uid(elements.get(sop_class, b"")),
        _uid(elements.get(instance, b"")),
        _number(elements, Element.DATASET_TYPE) != NO_DATASET,
        _optional_number(elements, Element.ACTION_TYPE) if requested else None,
    )


def _optional_number(elements: dict[int, bytes], element: Element) -> int | None:
    return _number(elements, element) if element in elements else None


def _elements(data: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        if end - at < _ELEMENT.size:
            raise BadMessage("command element cut short")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group or element in elements:
            raise BadMessage("command set with a repeated element, or one of another group")
        if length > end - at:
            raise BadMessage("command element longer than its command set")
        elements[element] = data[at : at + length]
        at += length
    return elements


def _number(elements: dict[int, bytes], element: Element) -> int:
    value = elements.get(element, b"")
    if len(value) != _SHORT.size:
        raise BadMessage(f"command without {element.name}, or with one of a wrong length")
    return int.from_bytes(value, "little")


def _uid(value: bytes) -> bytes:
    return value.rstrip(b"\0 ")


def is_uid(value: bytes) -> bool:
    """Say whether this is a UID by its form and length (PS3.5 9.1).

    Components with leading zeros are let pass: modalities send them, and no harm comes of it.
    """
    return len(value) <= UID_AT_MOST and _UID.fullmatch(value) is not None


def encode_response(command: Command, status: int, comment: str = "") -> bytes:
    """Write the response to a request, without a dataset (PS3.7 9.3.1.2, 9.3.5.2, 10.3)."""
    parts = [
        _text(Element.AFFECTED_SOP_CLASS, command.sop_class, b"\0") if command.sop_class else b"",
        _short(Element.COMMAND_FIELD, command.field | RESPONSE),
        _short(Element.RESPONDED_MESSAGE_ID, command.message_id),
        _short(Element.DATASET_TYPE, NO_DATASET),
        _short(Element.STATUS, status),
    ]
    if status != Status.SUCCESS and comment:
        printable = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in comment)
        parts.append(_text(Element.ERROR_COMMENT, printable[:COMMENT_AT_MOST].encode(), b" "))
    if command.sop_instance:
        parts.append(_text(Element.AFFECTED_SOP_INSTANCE, command.sop_instance, b"\0"))
    if command.action_type is not None:
        parts.append(_short(Element.ACTION_TYPE, command.action_type))
    return _command_set(parts)


def encode_event_report(
    sop_class: bytes, sop_instance: bytes, event_type: int, message_id: int
) -> bytes:
    """Write an N-EVENT-REPORT-RQ that a dataset follows (PS3.7 10.3.1.1)."""
    return _command_set(
        [
            _text(Element.AFFECTED_SOP_CLASS, sop_class, b"\0"),
            _short(Element.COMMAND_FIELD, CommandField.N_EVENT_REPORT),
            _short(Element.MESSAGE_ID, message_id),
            _short(Element.DATASET_TYPE, WITH_DATASET),
            _text(Element.AFFECTED_SOP_INSTANCE, sop_instance, b"\0"),
            _short(Element.EVENT_TYPE, event_type),
        ]
    )


def _command_set(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _short(element: Element, value: int) -> bytes:
    return _SHORT_ELEMENT.pack(0, element, 2, value)


def _text(element: Element, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) & 1)
    return _ELEMENT.pack(0, element, len(value)) + value


class MessageReader:
    """Puts fragments together into messages: a command, then its dataset (PS3.8 annex E).

    The command's fragments are joined, the dataset's never: whoever drives this passes them on.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._context_id = 0
        self._in_dataset = False
        self.asked: int | None = None  # the message ID of a request of ours that waits for a reply

    @property
    def in_message(self) -> bool:
        return self._in_dataset or bool(self._held)

    def command_fragment(
        self, context_id: int, data: memoryview, *, last: bool
    ) -> Command | Reply | None:
        """Take part of a command; return the command once it is whole."""
        if self._in_dataset:
            raise BadMessage("a command inside the dataset of another")
        if self._held and context_id != self._context_id:
            raise BadMessage("a command in two presentation contexts")
        if len(self._held) + len(data) > COMMAND_AT_MOST:
            raise BadMessage("a command longer than any command is")
        self._context_id = context_id
        self._held += data
        if not last:
            return None
        command = decode_message(bytes(self._held))
        self._held.clear()
        if isinstance(command, Reply):
            if command.message_id != self.asked:
                raise BadMessage("a response to nothing we asked")
            self.asked = None
        self._in_dataset = command.has_dataset
        return command

    def dataset_fragment(self, context_id: int, *, last: bool) -> None:
        """Check that a part of a dataset belongs to the command before it."""
        if not self._in_dataset:
            raise BadMessage("a dataset without a command")
        if context_id != self._context_id:
            raise BadMessage("a dataset in another presentation context than its command")
        self._in_dataset = not last
