"""What of an object need not go twice: stretches that are equal to earlier ones of the same object.

Frozen layers, tied weights and zeros are in a model as often as its file has them; over the link
they go once. A stretch may overlap what it repeats: zeros without end are a block and its repeat.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import BinaryIO

from protos.tensors import HEADER_AT_MOST, tensor_starts

BLOCK = 1 << 16
LEAST = 1 << 12  # what is shorter goes as it is: a repeat is a message, and a line in a ledger
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `at` on: they go as they are, or are those from `source` on once more."""

    at: int
    length: int
    source: int | None = None

    def is_sound(self) -> bool:
        """Say whether what is repeated lies before, and far enough not to be copied by bytes."""
        return self.source is None or (
            0 <= self.source <= self.at - LEAST and self.length > 0 and self.at >= 0
        )


def outline(size: int, read: Callable[[int, int], bytes]) -> list[Span]:
    """Cut an object into what goes and what repeats; blocks begin anew with each tensor.

    It is read once, a block at a time, by where a block begins and how long it is.
    """
    seen: dict[bytes, int] = {}
    found: list[Span] = []
    head = read(0, min(size, HEADER_AT_MOST))
    for at, end in _blocks(size, tensor_starts(head)):
        digest = sha256(read(at, end - at)).digest()
        source = seen.get(digest) if end - at >= LEAST else None
        seen[digest] = at  # the last one: equal blocks in a row become one repeat
        _add(found, Span(at, end - at, source))
    return found


def rest(spans: Iterable[Span], offset: int) -> Iterator[Span]:
    """Yield what comes from an offset on, which may lie within a stretch."""
    for span in spans:
        gone = max(0, offset - span.at)
        if gone < span.length:
            source = None if span.source is None else span.source + gone
            yield replace(span, at=span.at + gone, length=span.length - gone, source=source)


def extend(file: BinaryIO, span: Span) -> None:
    """Append what a sound span repeats to an unbuffered file that ends where it begins."""
    assert span.source is not None
    left, source, apart = span.length, span.source, span.at - span.source
    while left:
        piece = os.pread(file.fileno(), min(left, apart, PIECE), source)
        if piece.count(0) == min(left, apart):
            # All of what is repeated is zeros: the rest is a hole, and takes no room.
            file.truncate(span.at + span.length)
            file.seek(0, os.SEEK_END)
            return
        if not piece:
            raise EOFError("what is to be repeated is not there")
        file.write(piece)
        source += len(piece)
        left -= len(piece)


def _blocks(size: int, starts: Iterable[int]) -> Iterator[tuple[int, int]]:
    edges = sorted({0, *(at for at in starts if 0 < at < size), size})
    for start, end in pairwise(edges):
        for at in range(start, end, BLOCK):
            yield at, min(at + BLOCK, end)


def _add(found: list[Span], span: Span) -> None:
    """Append a span, or make the last one longer where it goes on."""
    last = found[-1] if found else None
    if last is not None and _apart(last) == _apart(span):
        found[-1] = replace(last, length=last.length + span.length)
    else:
        found.append(span)


def _apart(span: Span) -> int | None:
    return None if span.source is None else span.at - span.source
