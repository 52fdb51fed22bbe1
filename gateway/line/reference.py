"""The second look: whole datasets from the vault, through the reference engine, to the store."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from gateway.deid.engine import Deidentified
from gateway.deid.faces import Sight
from gateway.deid.walk import Encoding
from gateway.errors import GatewayError, IntegrityFault
from gateway.line.encoding import encode, parse, syntax_of
from gateway.line.express import HELD_DAMAGED, OTHER_PIXELS, RESEND
from gateway.line.face_look import FACE_PLACE, FaceLook
from gateway.line.header import SURPLUS, failed
from gateway.line.header import UNKNOWN_SYNTAX as UNKNOWN
from gateway.line.long_headers import LongHeaders, reason_of
from gateway.line.pixel_look import Doubtful, LookInterrupted, PixelLook
from gateway.line.reading import Reading, Unfit, look_beside
from gateway.line.suspicion import SUSPECTED, WRITTEN_ON
from gateway.line.terms import Means, Verdict
from gateway.model import Arrival, Lane, PseudoUID
from gateway.store.faces import FaceRegions
from gateway.store.files import HeldDamaged, Names, Publication
from gateway.store.part10 import head, parse_head
from gateway.store.sealed import SIZE, SealedRecord
from gateway.vault.entry import Kept, Reason
from gateway.vault.vault import NoSuchEntry

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
        self._reading = Reading(means, pixel_look)
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
                    ready = self._reading.ready(kept, chunks)
                survey.add(ready.result, ready.syntax)
            except (Unfit, IntegrityFault, NoSuchEntry):
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
        except (Unfit, Doubtful) as unfit:
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
            raise Unfit(UNKNOWN)
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
        ready = self._reading.ready(kept, chunks)
        result, syntax, record = ready.result, ready.syntax, ready.record
        if self._means.store.holds(Names.of(record.facts), record):
            self._means.vault.survived(entry)
            return None  # sent again after somebody looked at its pixels
        if ready.surplus and not cleared:
            raise Unfit(SURPLUS)
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
