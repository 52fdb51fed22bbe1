"""The header fields of HTTP/2 (RFC 7541), as far as gRPC writes any: what is odd is a fault."""

import re
from collections.abc import Iterator

from deploy.demo.failure import DemoFailed

TABLE_BYTES, ENTRY_BYTES = 4096, 32  # RFC 9113, 6.5.2; RFC 7541, 4.1
FIRST_OWN = 62  # RFC 7541, Appendix A: what both sides know from the start comes before
KNOWN = {3: (":method", "POST"), 7: (":scheme", "https")}
# RFC 7541, 6: the bits that begin a field, and how many bits its number has.
INDEXED, REMEMBERED, RESIZED, PASSING = 7, 6, 5, 4
HUFFMAN = 0x80
# Everything that a call may say beside its messages. None of it is a gateway's choice.
ALLOWED = {
    ":method": r"POST",
    ":scheme": r"https",
    ":path": r"/radfed\.v1\.[A-Za-z]{1,40}/[A-Za-z]{1,40}",
    ":authority": r"[a-z0-9.-]{1,253}:[0-9]{1,5}",
    "content-type": r"application/grpc",
    "te": r"trailers",
    "grpc-accept-encoding": r"identity, deflate, gzip",
    "grpc-timeout": r"[0-9]{1,8}[HMSmun]",
    "user-agent": r"grpc-python/[0-9.]{1,20} grpc-c/[0-9.]{1,20} \([a-z0-9]+; chttp2\)",
}


class OddFields(DemoFailed):
    def __init__(self, what: str) -> None:
        super().__init__(f"a call's header fields on the wire hold {what}: no ledger has that")


class FieldReader:
    """One connection's fields: a block may point to what an earlier one said."""

    def __init__(self) -> None:
        self._own: list[tuple[str, str]] = []  # the newest first
        self._at_most = TABLE_BYTES

    def check(self, block: bytes) -> None:
        """Require of a block of fields that it says nothing but how gRPC calls."""
        for name, value in self._fields(memoryview(block)):
            if (pattern := ALLOWED.get(name)) is None:
                raise OddFields("a field that gRPC does not need")
            if not re.fullmatch(pattern, value):
                raise OddFields(f"an unknown value of {name}")

    def _fields(self, left: memoryview) -> Iterator[tuple[str, str]]:
        while left:
            first = left[0]
            if first >> INDEXED:
                index, left = _number(left, INDEXED)
                yield self._entry(index)
            elif first >> REMEMBERED:
                field, left = self._literal(left, REMEMBERED)
                self._own.insert(0, field)
                self._forget()
                yield field
            elif first >> RESIZED:
                size, left = _number(left, RESIZED)
                self._at_most = min(size, TABLE_BYTES)
                self._forget()
            else:
                field, left = self._literal(left, PASSING)
                yield field

    def _literal(self, left: memoryview, bits: int) -> tuple[tuple[str, str], memoryview]:
        index, left = _number(left, bits)
        name, left = (self._entry(index)[0], left) if index else _text(left)
        value, left = _text(left)
        return (name, value), left

    def _entry(self, index: int) -> tuple[str, str]:
        if index < FIRST_OWN:
            if index not in KNOWN:
                raise OddFields("a field that gRPC writes otherwise")
            return KNOWN[index]
        if index - FIRST_OWN >= len(self._own):
            raise OddFields("a pointer to nothing")
        return self._own[index - FIRST_OWN]

    def _forget(self) -> None:
        """Let go of the oldest until the rest has room (RFC 7541, 4.3)."""
        while sum(len(n) + len(v) + ENTRY_BYTES for n, v in self._own) > self._at_most:
            self._own.pop()


def _number(left: memoryview, bits: int) -> tuple[int, memoryview]:
    """Read a number that begins in the low bits of a byte (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    number, at, shift = left[0] & most, 1, 0
    if number < most:
        return number, left[1:]
    while at < len(left) and shift <= 21:  # noqa: PLR2004 - nothing here is longer than 2^28
        number += (left[at] & 0x7F) << shift
        if not left[at] & 0x80:
            return number, left[at + 1 :]
        at, shift = at + 1, shift + 7
    raise OddFields("a number without an end")


def _text(left: memoryview) -> tuple[str, memoryview]:
    if not left or left[0] & HUFFMAN:
        raise OddFields("a text in a code that gRPC does not write")
    length, left = _number(left, 7)
    if length > len(left):
        raise OddFields("a text without an end")
    return bytes(left[:length]).decode("latin-1"), left[length:]
