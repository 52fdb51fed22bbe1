"""What a hospital said on a connection: its gRPC messages, and the framing around them."""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from deploy.demo.failure import DemoFailed
from deploy.demo.header_fields import FieldReader

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4
FRAME_HEAD = 9  # RFC 9113, 4.1
MESSAGE_HEAD = struct.Struct(">BI")  # compressed or not, length: gRPC over HTTP/2


class Frame(IntEnum):
    """RFC 9113, 6: the frames that a gRPC client sends."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8


# A flag that is not here would add to a frame what nobody reads: padding, a priority.
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
FLAGS = {Frame.DATA: END_STREAM, Frame.HEADERS: END_STREAM | END_HEADERS}
FLAGS |= {Frame.SETTINGS: ACK, Frame.PING: ACK}
# How long a frame is at the most where that is fixed; a GOAWAY without a word to debug by.
LENGTHS = {Frame.RST_STREAM: 4, Frame.PING: 8, Frame.GOAWAY: 8, Frame.WINDOW_UPDATE: 4}
LENGTHS |= {Frame.SETTINGS: 60}  # ten settings


class OddFrame(DemoFailed):
    def __init__(self, what: str) -> None:
        super().__init__(f"the wire holds {what}: what that carries is on no ledger")


@dataclass(frozen=True, slots=True)
class Seen:
    """All of one hospital's bytes: whole messages, parts of messages, and the framing."""

    messages: tuple[bytes, ...] = ()
    parts: bytes = b""  # of messages and frames that are on their way, or were cut
    framing: bytes = b""

    @property
    def bytes_carried(self) -> int:
        return sum(map(len, self.messages))

    def everything(self) -> bytes:
        return b"".join((*self.messages, self.parts, self.framing))


def read_all(connections: Iterable[bytes]) -> Seen:
    """Read all connections of a hospital; OddFrame where one holds what gRPC does not need."""
    each = [_read(said) for said in connections]
    return Seen(
        tuple(message for seen in each for message in seen.messages),
        b"".join(seen.parts for seen in each),
        b"".join(seen.framing for seen in each),
    )


def _read(said: bytes) -> Seen:
    if not said.startswith(PREFACE):
        if PREFACE.startswith(said):  # a handshake alone, or one that has just begun
            return Seen(framing=said)
        raise OddFrame("something else than HTTP/2")
    bodies: dict[int, bytearray] = defaultdict(bytearray)
    framing, fields = [PREFACE], FieldReader()
    for head, kind, stream, body in _frames(said):
        framing.append(head)
        if kind is Frame.DATA:
            bodies[stream] += body
            continue
        framing.append(body)
        if kind is Frame.HEADERS:
            fields.check(body)
    whole = sum(map(len, framing)) + sum(map(len, bodies.values()))
    messages, parts = [], [said[whole:]]
    for data in bodies.values():
        found, heads, rest = _split(bytes(data))
        messages += found
        framing.append(heads)
        parts.append(rest)
    return Seen(tuple(messages), b"".join(parts), b"".join(framing))


def _frames(said: bytes) -> Iterator[tuple[bytes, Frame, int, bytes]]:
    """Yield each frame that has come whole: its head, kind, stream and content."""
    at = len(PREFACE)
    while at + FRAME_HEAD <= len(said):
        head = said[at : at + FRAME_HEAD]
        length, stream = int.from_bytes(head[:3], "big"), int.from_bytes(head[5:], "big")
        if len(body := said[at + FRAME_HEAD : at + FRAME_HEAD + length]) < length:
            return
        yield head, _kind(head, length), stream, body
        at += FRAME_HEAD + length


def _kind(head: bytes, length: int) -> Frame:
    try:
        kind = Frame(head[3])
    except ValueError:
        raise OddFrame(f"a frame of kind {head[3]}, which no gRPC client sends") from None
    if head[4] & ~FLAGS.get(kind, 0) or length > LENGTHS.get(kind, length):
        raise OddFrame(f"a {kind.name} frame with more in it than gRPC puts there")
    if kind is Frame.HEADERS and not head[4] & END_HEADERS:
        raise OddFrame("header fields in several frames")
    return kind


def _split(body: bytes) -> tuple[list[bytes], bytes, bytes]:
    """Return a stream's whole messages, their heads, and what has come of one more."""
    found, heads, at = [], bytearray(), 0
    while at + MESSAGE_HEAD.size <= len(body):
        compressed, length = MESSAGE_HEAD.unpack_from(body, at)
        if compressed:
            raise OddFrame("a message that is compressed")
        begin = at + MESSAGE_HEAD.size
        if begin + length > len(body):
            break
        heads += body[at:begin]
        found.append(body[begin : begin + length])
        at = begin + length
    return found, bytes(heads), body[at:]
