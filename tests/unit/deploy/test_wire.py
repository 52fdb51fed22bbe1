"""What is read from the wire is all of it: messages to the byte, and framing without a word."""

import struct

import pytest

from deploy.demo.header_fields import FieldReader, OddFields
from deploy.demo.wire import PREFACE, OddFrame, read_all

DATA, HEADERS, PRIORITY, SETTINGS, PING, GOAWAY = 0, 1, 2, 4, 6, 7
END_HEADERS, PADDED = 0x4, 0x8
# As grpc 1.85 writes a connection's first call, and its second.
FIRST = (
    b"@\x05:path\x1e/radfed.v1.LinkService/Connect@\n:authority\x0f127.0.0.1:34325\x83\x87"
    b"@\x0ccontent-type\x10application/grpc@\x02te\x08trailers"
    b"@\x14grpc-accept-encoding\x17identity, deflate, gzip"
    b"@\nuser-agent0grpc-python/1.85.3 grpc-c/58.0.0 (linux; chttp2)"
)
SECOND = b"@\x05:path\x1b/radfed.v1.LinkService/Held\xc3\x83\x87\xc2\xc1\xc0\xbf"


def frame(kind, body, stream=1, flags=0):
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def message(content, compressed=0):
    return struct.pack(">BI", compressed, len(content)) + content


def said(*frames):
    return PREFACE + frame(SETTINGS, b"", 0) + b"".join(frames)


def a_call(fields=FIRST, stream=1):
    return frame(HEADERS, fields, stream, END_HEADERS)


def test_messages_are_put_together_stream_by_stream():
    one, two, three = b"one" * 100, b"two", b"three" * 7
    halves = message(one) + message(two)
    seen = read_all(
        [
            said(
                a_call(),
                frame(DATA, halves[:50]),
                a_call(SECOND, 3),
                frame(DATA, message(three), 3),
                frame(PING, bytes(8), 0),
                frame(DATA, halves[50:]),
            ),
            said(a_call(), frame(DATA, message(two))),
        ]
    )

    assert sorted(seen.messages) == sorted([one, two, three, two])
    assert seen.parts == b""


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_no_byte_is_lost_wherever_a_connection_is_cut(cut):
    whole = said(a_call(), frame(DATA, message(b"a" * 60) + message(b"b" * 60)))

    seen = read_all([whole[:cut]])

    assert sorted(seen.everything()) == sorted(whole[:cut])


def test_a_message_without_its_end_is_no_message():
    seen = read_all([said(a_call(), frame(DATA, message(b"whole") + message(b"half")[:-2]))])

    assert seen.messages == (b"whole",)
    assert seen.parts == message(b"half")[:-2]


@pytest.mark.parametrize(
    "odd",
    [
        frame(PRIORITY, bytes(5)),
        frame(0x42, b"a frame that receivers ignore (RFC 9113, 5.5)"),
        frame(DATA, b"\x07" + message(b"") + b"padding", flags=PADDED),
        frame(PING, bytes(9), 0),
        frame(GOAWAY, bytes(8) + b"words", 0),
        frame(SETTINGS, bytes(66), 0),
        frame(HEADERS, FIRST, flags=0),  # to be continued
        frame(DATA, message(b"compressed", compressed=1)),
    ],
)
def test_a_frame_that_could_hold_more_is_a_fault(odd):
    with pytest.raises(OddFrame):
        read_all([said(a_call(), odd)])


def test_something_else_than_http_is_a_fault():
    with pytest.raises(OddFrame):
        read_all([b"GET /pixels HTTP/1.1\r\n"])


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (literal(b"patient", b"Doe^John"), "a field that gRPC does not need"),
        (literal(b"grpc-trace-bin", b"AAAA"), "a field that gRPC does not need"),
        (literal(b":path", b"/radfed.v1.LinkService/Doe%20John"), "an unknown value of :path"),
        (literal(b"user-agent", b"Doe^John"), "an unknown value of user-agent"),
        (b"\x00\x82\x1f\x10\x01a", "a code that gRPC does not write"),  # Huffman
        (b"\xff\x80\x80\x80\x80\x80\x01", "a number without an end"),
        (b"\xc8", "a pointer to nothing"),
        (b"\x90", "gRPC writes otherwise"),
        (b"\x00\x05:pa", "a text without an end"),
    ],
)
def test_a_word_beside_the_messages_is_a_fault(block, says):
    reader = FieldReader()
    reader.check(FIRST)

    with pytest.raises(OddFields, match=says):
        reader.check(block)


def test_a_block_points_to_what_an_earlier_one_said_until_that_is_forgotten():
    reader = FieldReader()
    reader.check(FIRST)
    reader.check(SECOND)

    reader.check(b"\x20")  # the table is emptied (RFC 7541, 6.3)

    with pytest.raises(OddFields, match="a pointer to nothing"):
        reader.check(SECOND)
