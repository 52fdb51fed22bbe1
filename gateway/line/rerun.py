"""Stored instances made anew from what is stored: each replaced whole and durably, or left alone.

Nothing of an instance is lost at any moment: the new file is durable under its name before the old
one goes. A file that was brought over already is passed by, so that a run cut short goes on.
How it is made anew, a stricter profile or a newer key, whoever runs it says.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from pydicom.dataset import Dataset

from gateway.deid.engine import Refusal
from gateway.deid.facts import DeidFacts
from gateway.deid.restrict import Restricted
from gateway.deid.walk import Found, Walk
from gateway.durable import Draft
from gateway.errors import IntegrityFault
from gateway.line.encoding import Syntax, encode, parse, silence_pydicom, syntax_of
from gateway.model import Original, PseudoUID
from gateway.store.files import HeldDamaged, Names, Publication, Store
from gateway.store.part10 import Head, head, parse_head
from gateway.store.sealed import SIZE, CannotSeal, SealedRecord

FIRST_BYTES: Final = 16 << 20  # nearly every header ends before
COPY_BYTES: Final = 1 << 20
LOOKS: Final = 3  # the line may move a file while it is read


class Became(StrEnum):
    RENEWED = "renewed"
    ALREADY = "already"  # as it is wanted
    OUT_OF_REACH = "out_of_reach"  # its profile keeps less, or is not known: fetch it again
    REFUSED = "refused"  # it cannot be cleaned as wanted: it stays as it was
    GONE = "gone"  # replaced or removed meanwhile
    DAMAGED = "damaged"  # its seal does not open: `reindex` sets it aside


class Making(Protocol):
    """Makes a stored dataset anew, in place."""

    def apply(
        self, dataset: Dataset, facts: DeidFacts, original: Original
    ) -> Restricted | Refusal: ...


Choice = Callable[[DeidFacts], "Making | Became"]  # what a file needs, or why nothing is done


@dataclass(frozen=True, slots=True)
class _Read:
    """A stored file's header, and where its pixel data begin and end in it."""

    head: Head
    record: SealedRecord
    header: bytes
    pixels_at: int
    value_at: int
    end: int


class Rerun:
    """Renews one file after the other."""

    def __init__(
        self,
        store: Store,
        choose: Choice,
        forget: Callable[[PseudoUID], None],
    ) -> None:
        """Prepare; `forget` takes the old name of what is filed under another from the index."""
        silence_pydicom()
        self._store = store
        self._choose = choose
        self._forget = forget

    def renew(self, path: Path) -> Became:
        """Make one file anew; it may have moved since it was listed."""
        for _ in range(LOOKS):
            try:
                became = self._renew(self.where(path))
            except FileNotFoundError:
                continue
            except (HeldDamaged, IntegrityFault):
                return Became.DAMAGED
            except CannotSeal:
                return Became.REFUSED
            if became is not None:
                return became
        return Became.GONE

    def where(self, path: Path) -> Path:
        """Return where the newest version of a listed file is."""
        arrived = self._store.arrivals.path / path.name
        if arrived.exists():
            return arrived
        if path.exists() or path.parent != self._store.arrivals.path:
            return path
        return next(self._store.directory.glob(f"[0-9a-f][0-9a-f]/*/*/{path.name}"), path)

    def _renew(self, path: Path) -> Became | None:
        """Return what became of it; None where it changed meanwhile."""
        record = self._store.record_of(path)
        making = self._choose(record.facts)
        if isinstance(making, Became):
            return making
        syntax = syntax_of(record.facts.transfer_syntax_uid)
        if syntax is None:
            return Became.REFUSED
        with path.open("rb", buffering=0) as file:
            found = self._read(file.fileno(), syntax)
            if found is None:
                return Became.REFUSED
            dataset = parse(found.header, syntax.encoding)
            result = making.apply(dataset, found.record.facts, found.record.original)
            if isinstance(result, Refusal):
                return Became.REFUSED
            with closing(self._store.draft()) as draft:
                new = self._write(draft, file.fileno(), found, result, syntax)
                return self._publish(path, draft, found, new)

    def _read(self, descriptor: int, syntax: Syntax) -> _Read | None:
        size = os.fstat(descriptor).st_size
        raw = os.pread(descriptor, min(FIRST_BYTES, size), 0)
        found = parse_head(raw)
        record = self._store.seal.open(found.sealed, found.sop_uid)
        looked = Walk(syntax.encoding).look(memoryview(raw)[found.dataset :])
        if isinstance(looked, Found):
            start, value = found.dataset + looked.element, found.dataset + looked.value
            # Nothing follows pixel data in a file of ours: encapsulated ones end with it.
            if looked.length is None or value + looked.length == size:
                return _Read(found, record, raw[found.dataset : start], start, value, size)
        if size > len(raw):
            raw = b"".join(_pieces(descriptor, 0, size))
        return _Read(found, record, raw[found.dataset :], size, size, size)

    def _write(
        self, draft: Draft, descriptor: int, found: _Read, result: Restricted, syntax: Syntax
    ) -> SealedRecord:
        """Write head, header and the pixels as they are; return the new record, sealed in."""
        facts, seal = result.facts, self._store.seal
        start = head(facts.sop_class_uid, facts.sop_uid, facts.transfer_syntax_uid)
        header = encode(result.dataset, syntax.encoding)
        element = os.pread(descriptor, found.value_at - found.pixels_at, found.pixels_at)
        fingerprint = seal.header_print()
        for part in (start[:-SIZE], header, element):
            fingerprint.update(part)
        draft.write(start, header)
        for piece in _pieces(descriptor, found.pixels_at, found.end):
            draft.write(piece)
        record = replace(
            found.record,
            facts=facts,
            header_print=fingerprint.finalize().hex(),
            header_bytes=len(header) + len(element),
        )
        draft.patch(seal.close(record, facts.sop_uid), len(start) - SIZE)
        return record

    def _publish(
        self, path: Path, draft: Draft, found: _Read, record: SealedRecord
    ) -> Became | None:
        old, new = Names.of(found.record.facts), Names.of(record.facts)
        if old == new:
            renewed = self._store.renew(draft, new, path, found.head.sealed)
            return Became.RENEWED if renewed else None
        if self._store.publish(draft, new, record, older=True) is Publication.CONFLICT:
            return Became.REFUSED
        self._forget(old.sop)  # before its file: cut short here, the next run does it again
        return Became.RENEWED if self._store.retire(old, path, found.head.sealed) else None


def _pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    at = start
    while at < end and (piece := os.pread(descriptor, min(COPY_BYTES, end - at), at)):
        yield piece
        at += len(piece)
