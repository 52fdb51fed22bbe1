"""The second look: whole datasets from the vault, through the reference engine, to the store."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.deid.codestream import Drawn, NotFrames, blanked
from gateway.deid.engine import Deidentified, Refusal
from gateway.deid.faces import Sight
from gateway.deid.pixel_rules import Corners
from gateway.deid.spare import SpareBits
from gateway.deid.walk import UNDEFINED, Encoding, Why, check
from gateway.errors import GatewayError, IntegrityFault
from gateway.line.encoding import Syntax, TooMuch, encode, inflate, parse, syntax_of
from gateway.line.express import BAD_FRAMES, CUT, DRAWN, HELD_DAMAGED, OTHER_PIXELS, RESEND
from gateway.line.face_look import FACE_PLACE, FaceLook
from gateway.line.header import (
    MISMATCH,
    ODD_PIXELS,
    SURPLUS,
    TOO_DEEP,
    contradicts,
    failed,
    refused,
)
from gateway.line.header import UNKNOWN_SYNTAX as UNKNOWN
from gateway.line.long_headers import LongHeaders, reason_of
from gateway.line.pixel_look import Doubtful, LookInterrupted, PixelLook
from gateway.line.suspicion import SUSPECTED, WRITTEN_ON
from gateway.line.terms import Means, Verdict
from gateway.model import Arrival, Lane, PseudoUID
from gateway.store.faces import FaceRegions
from gateway.store.files import HeldDamaged, Names, Publication
from gateway.store.part10 import head, parse_head
from gateway.store.sealed import SIZE, SealedRecord
from gateway.vault.entry import Kept, Reason
from gateway.vault.vault import NoSuchEntry

PIXEL_DATA = "PixelData"
PIXEL_KINDS = (PIXEL_DATA, "FloatPixelData", "DoubleFloatPixelData")
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"  # what pydicom takes off encapsulated pixel data
NOT_DEFLATED = Reason("its transfer syntax is deflated, its bytes are not", "", RESEND)
BOMB = Reason(
    "it inflates to more than 256 MiB, or more than 200 times what was sent",
    "",
    "drop it, and let the sender send it in a transfer syntax that is not deflated",
)
TOO_LARGE = Reason(
    "its dataset is longer than `whole_bytes_at_most`",
    "",
    "raise `whole_bytes_at_most` under [vault] if this machine has five times as much memory, "
    "look at its pixels and release it; or drop it",
)
CUT_SHORT = Reason(
    "the gateway ended while it read this: for want of memory, or by chance",
    "",
    "see in the machine's log why it ended; look at its pixels and release it, or drop it",
)
CHANGED = Reason("it does not open: changed or cut", "", "restore the vault, or drop the entry")


@dataclass(frozen=True, slots=True)
class Waiting:
    """It stays where it is until its series is whole."""

    series: PseudoUID
    received: float  # UNIX seconds


@dataclass(frozen=True, slots=True)
class _Ready:
    """A dataset without its patient, and what is still known of how it came."""

    result: Deidentified
    syntax: Syntax
    record: SealedRecord
    surplus: bool
    known: list[Corners]


class _Unfit(Exception):
    """It cannot be stored, for this reason."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class SecondLook:
    """Takes entries out of the vault: into the store, or to quarantine with a reason."""

    def __init__(
        self,
        means: Means,
        held: Callable[[str], bool],
        pixel_look: PixelLook,
        stopping: Callable[[], bool],
        faces: FaceLook | None = None,
    ) -> None:
        self._means = means
        self._faces = faces or FaceLook(FaceRegions(means.store.directory))
        self._pixel_look = pixel_look
        self._stopping = stopping
        self._held = held  # whether a dataset of that digest is stored, durably
        self._long_headers = LongHeaders(means)

    def settle(self, entry: str, *, cleared: bool) -> Reason | Waiting | None:
        """Store an entry and erase it, or quarantine it and say why; repeatable after a crash.

        What may show a face waits for the rest of its series, and stays where it is.
        """
        with self._means.vault.attempt(entry) as cut_short:
            reason = self._cut_short(entry) if cut_short else self._store(entry, cleared=cleared)
            if reason is None:
                self._means.vault.erase(entry)
            elif isinstance(reason, Reason):
                self.quarantine(entry, reason)
        return reason

    def quarantine(self, entry: str, reason: Reason) -> None:
        self._means.vault.quarantine(entry, reason)
        self._means.audit.record(
            "instance_quarantined", entry=entry, reason=reason.reason, place=reason.place
        )

    def survey(self, entries: Iterable[str], series: PseudoUID) -> Reason | None:
        """Find the face in a series and keep where it is; else say why that cannot be done."""
        try:
            return self._survey(entries, series)
        except (LookInterrupted, OSError):
            raise  # they stay where they are
        except Exception as fault:  # noqa: BLE001 - as in `_store`: no series may stop the line
            return failed(fault)

    def _survey(self, entries: Iterable[str], series: PseudoUID) -> Reason | None:
        if self._faces.region(series) is not None:
            return None  # a pass was cut short after that
        survey = self._faces.begin(self._stopping)
        for entry in entries:
            if self._stopping():
                raise LookInterrupted("the gateway stops")
            try:
                with self._means.vault.open(entry) as (kept, chunks):
                    ready = self._ready(kept, chunks)
                survey.add(ready.result, ready.syntax)
            except (_Unfit, IntegrityFault, NoSuchEntry):
                continue  # it is settled by itself, and says so then
        return survey.finish(series)

    def _cut_short(self, entry: str) -> Reason | None:
        """Ask the label alone: what was sent again and is stored need not be read a second time."""
        try:
            with self._means.vault.open(entry) as (kept, _):
                return None if self._held(kept.received) else CUT_SHORT
        except IntegrityFault:
            return CHANGED

    def _store(self, entry: str, *, cleared: bool) -> Reason | Waiting | None:
        try:
            if not cleared:
                with self._means.vault.open(entry) as (kept, chunks):
                    verdict = self._in_pieces(entry, kept, chunks)
                if verdict is not None:
                    return reason_of(verdict)
            with self._means.vault.open(entry) as (kept, chunks):
                return self._read_whole(entry, kept, chunks, cleared=cleared)
        except (_Unfit, Doubtful) as unfit:
            return unfit.reason
        except LookInterrupted:
            raise  # it stays where it is
        except IntegrityFault as fault:
            return HELD_DAMAGED if isinstance(fault, HeldDamaged) else CHANGED
        except OSError:
            raise  # the disk's fault, not the instance's: it stays where it is
        except GatewayError as fault:
            return Reason(str(fault), "", RESEND)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the instance must not be lost
            return failed(fault)

    def _in_pieces(self, entry: str, kept: Kept, chunks: Iterator[bytes]) -> Verdict | None:
        if not self._long_headers.wait_for_nothing_else(kept):
            return None
        survived = partial(self._means.vault.survived, entry)
        return self._long_headers.settle(kept, chunks, survived)

    def _read_whole(
        self, entry: str, kept: Kept, chunks: Iterator[bytes], *, cleared: bool
    ) -> Reason | Waiting | None:
        if kept.size_bytes > self._means.whole_bytes_at_most:
            return TOO_LARGE
        if kept.form == "part10":
            return self._store_file(entry, kept, b"".join(chunks), cleared=cleared)
        return self._store_dataset(entry, kept, chunks, cleared=cleared)

    def _store_file(self, entry: str, kept: Kept, raw: bytes, *, cleared: bool) -> Reason | None:
        """Store a file that was de-identified before: it waited for a look, or for another's UID.

        One that somebody looked at is of this lane from now on: nobody suspects it again.
        """
        found = parse_head(raw)
        record = self._means.store.seal.open(found.sealed, found.sop_uid)
        suspected = kept.reason == SUSPECTED and not cleared
        if suspected or cleared:
            raw, record = self._looked_at(entry, kept, raw[found.dataset :], record, suspected)
        self._means.vault.survived(entry)
        return self._publish(raw, record)

    def _looked_at(
        self,
        entry: str,
        kept: Kept,
        raw: bytes,
        record: SealedRecord,
        suspected: bool,  # noqa: FBT001
    ) -> tuple[bytes, SealedRecord]:
        syntax = syntax_of(record.facts.transfer_syntax_uid)
        if syntax is None:
            raise _Unfit(UNKNOWN)
        dataset = parse(raw, syntax.encoding)
        result = Deidentified(dataset, record.original, record.facts, WRITTEN_ON, 0)
        if suspected:
            self._means.vault.survived(entry)  # as below
            result = self._pixel_look.pass_through(result, syntax, [], self._stopping)
            self._means.vault.trying(entry)
        record = replace(record, lane=Lane.VAULT, facts=result.facts)
        return self._file(result, syntax.encoding, kept.arrival, record), record

    def _store_dataset(
        self, entry: str, kept: Kept, chunks: Iterator[bytes], *, cleared: bool
    ) -> Reason | Waiting | None:
        ready = self._ready(kept, chunks)
        result, syntax, record = ready.result, ready.syntax, ready.record
        if self._means.store.holds(Names.of(record.facts), record):
            self._means.vault.survived(entry)
            return None  # sent again after somebody looked at its pixels
        if ready.surplus and not cleared:
            raise _Unfit(SURPLUS)
        look_beside(result, kept.arrival.transfer_syntax_uid, syntax, cleared=cleared)
        region = None
        if result.face.seen is not Sight.NONE and not self._vouched(entry, cleared=cleared):
            region = self._faces.region(result.facts.series_uid)
            if region is None:
                self._means.vault.survived(entry)
                # What an operator releases comes back one by one, however long ago it was sent.
                since = self._means.now() if cleared else kept.received_at
                return Waiting(result.facts.series_uid, since.timestamp())
        if result.needs_pixels is not None and not cleared:
            # The process that looks may die of it, and no gateway with it: the mark rests.
            self._means.vault.survived(entry)
            result = self._pixel_look.pass_through(result, syntax, ready.known, self._stopping)
            self._means.vault.trying(entry)
        if region is not None:
            result = self._faces.clean(result, syntax, region, self._stopping)
        record = replace(record, facts=result.facts)
        raw = self._file(result, syntax.encoding, kept.arrival, record)
        self._means.vault.survived(entry)
        return self._publish(raw, record)

    def _vouched(self, entry: str, *, cleared: bool) -> bool:
        """Say whether an operator released it although it may show a face, and for that alone."""
        why = self._means.vault.latest_reason(entry) if cleared else None
        return why is not None and why.place == FACE_PLACE

    def _ready(self, kept: Kept, chunks: Iterator[bytes]) -> _Ready:
        """Read a dataset whole and take its patient out of the header; _Unfit where it cannot."""
        arrival = kept.arrival
        syntax = syntax_of(arrival.transfer_syntax_uid)
        if syntax is None:
            raise _Unfit(UNKNOWN)
        if syntax.deflated:  # nothing is stored deflated
            raw, transfer_syntax_uid = _inflated(kept, chunks), str(ExplicitVRLittleEndian)
        else:
            raw, transfer_syntax_uid = b"".join(chunks), arrival.transfer_syntax_uid
        dataset = parse(raw, understood(raw, syntax.encoding))
        if contradicts(dataset, arrival):
            raise _Unfit(Reason(MISMATCH, "(0008,0016) (0008,0018)", RESEND))
        pixels = self._pixel_print(dataset, encapsulated=syntax.encapsulated)
        values = [] if syntax.encapsulated else native_values(dataset)
        known = self._pixel_look.known(dataset)
        result = self._means.engine.apply(dataset, transfer_syntax_uid)
        if isinstance(result, Refusal):
            raise _Unfit(refused(result))
        record = SealedRecord(
            received=kept.received,
            pixels=pixels,
            lane=Lane.VAULT,
            sender=arrival.calling_ae,
            original=result.original,
            facts=result.facts,
        )
        return _Ready(result, syntax, record, has_surplus(values, result.pixel_bytes), known)

    def _pixel_print(self, dataset: Dataset, *, encapsulated: bool) -> str:
        """Print the pixels as the express lane would, so that both lanes know a duplicate."""
        fingerprint = self._means.store.seal.pixel_print()
        if PIXEL_DATA in dataset:
            element: Any = dataset.get_item(PIXEL_DATA)
            if (element.length == UNDEFINED) is not encapsulated:  # raw: nobody has touched it
                raise _Unfit(ODD_PIXELS)
            fingerprint.update(element.value or b"")
            fingerprint.update(SEQUENCE_END if encapsulated else b"")
        return fingerprint.finalize().hex()

    def _file(
        self, result: Deidentified, encoding: Encoding, arrival: Arrival, record: SealedRecord
    ) -> bytes:
        facts = result.facts
        start = head(arrival.sop_class_uid, facts.sop_uid, facts.transfer_syntax_uid)
        dataset = encode(result.dataset, encoding)
        fingerprint = self._means.store.seal.header_print()
        fingerprint.update(start[:-SIZE])
        fingerprint.update(dataset)  # whole: its pixels were encoded anew
        proven = replace(
            record, header_print=fingerprint.finalize().hex(), header_bytes=len(dataset)
        )
        return start[:-SIZE] + self._means.store.seal.close(proven, facts.sop_uid) + dataset

    def _publish(self, raw: bytes, record: SealedRecord) -> Reason | None:
        names = Names.of(record.facts)
        draft = self._means.store.draft()
        try:
            draft.write(raw)
            outcome = self._means.store.publish(draft, names, record)
        finally:
            draft.close()
        if outcome is Publication.SUPERSEDED:
            self._means.audit.record("instance_superseded", sop=names.sop, sender=record.sender)
        return OTHER_PIXELS if outcome is Publication.CONFLICT else None


def look_beside(
    result: Deidentified, transfer_syntax_uid: str, syntax: Syntax, *, cleared: bool
) -> None:
    """Blank what stands beside compressed frames; refuse what stands beside native samples."""
    dataset = result.dataset
    item: Any = dataset.get_item(PIXEL_DATA) if PIXEL_DATA in dataset else None
    if item is None or not isinstance(item.value, bytes):
        return
    try:
        if syntax.encapsulated:
            samples = (result.facts.rows or 0) * (result.facts.columns or 0)
            value = blanked(item.value, transfer_syntax_uid, samples, result.spare)
            if value != item.value:
                dataset._dict[item.tag] = item._replace(value=value)  # noqa: SLF001 - raw, as it came
        elif result.spare is not None and not cleared:
            spare = SpareBits(result.spare, big_endian=syntax.encoding.big_endian)
            spare.feed(item.value)
            if not spare.sound:
                raise _Unfit(DRAWN)
    except NotFrames as fault:
        if not cleared:
            raise _Unfit(DRAWN if isinstance(fault, Drawn) else BAD_FRAMES) from None


def native_values(dataset: Dataset) -> list[bytes]:
    """Return its pixel data, of whichever kind (PS3.3 C.7.6.24, C.7.6.25)."""
    found = [dataset.get_item(keyword) for keyword in PIXEL_KINDS if keyword in dataset]
    return [value for item in found if isinstance(value := item.value, bytes)]


def has_surplus(values: list[bytes], accounted: int) -> bool:
    """Say whether more stands in pixel data than the header accounts for: noughts name nobody."""
    if sum(map(len, values)) <= accounted:
        return False
    return len(values) > 1 or values[0][accounted:].strip(b"\0") != b""


def understood(raw: bytes, declared: Encoding) -> Encoding:
    """Return how the dataset is really written: as declared, or in the other little endian form."""
    fault = check(raw, declared)
    if fault is None:
        return declared
    if fault.why is Why.NESTING:
        raise _Unfit(TOO_DEEP)
    other = Encoding(implicit=not declared.implicit, big_endian=False)
    if check(raw, other) is None:
        return other
    raise _Unfit(CUT if fault.why is Why.TRUNCATED else Reason(str(fault.why), "", RESEND))


def _inflated(kept: Kept, chunks: Iterator[bytes]) -> bytes:
    try:
        return inflate(chunks, kept.size_bytes)
    except TooMuch as fault:
        raise _Unfit(BOMB) from fault
    except zlib.error as fault:
        raise _Unfit(NOT_DEFLATED) from fault
