"""The express lane: a rewritten header, then exactly the Pixel Data element as it was sent.

What follows Pixel Data (padding, signatures over what is no longer there) is hashed and dropped.
The original header stays in memory until commit: a late refusal is sealed whole into the vault.
"""

from collections.abc import Iterator, Sequence

from pydicom.uid import ExplicitVRBigEndian

from gateway.deid.codestream import Drawn, Frames, NotFrames
from gateway.deid.spare import SpareBits
from gateway.deid.walk import NEED_MORE, Carried, Found, Fragments, Walk, Why
from gateway.line.budget import Claim
from gateway.line.terms import Lane, Means, Receipt, Rewritten, Verdict, VerdictKind
from gateway.line.vaulting import VaultLane
from gateway.model import Arrival
from gateway.model import Lane as LaneName
from gateway.store.files import HeldDamaged, Names, Publication
from gateway.store.part10 import head
from gateway.store.sealed import SIZE, CannotSeal, SealedRecord
from gateway.vault.entry import Reason

RESEND = "send it again from the PACS"
READ_BACK = 1 << 20
CUT = Reason(str(Why.TRUNCATED), "", RESEND)
NO_END = Reason("encapsulated pixel data has no end", "(7FE0,0010)", RESEND)
BAD_FRAGMENTS = Reason("encapsulated pixel data are not made of items", "(7FE0,0010)", RESEND)
BAD_TAIL = Reason("what follows pixel data cannot be read", "", RESEND)
BAD_FRAMES = Reason(
    "its compressed frames are not what its transfer syntax says",
    "(7FE0,0010)",
    "have its sender compress it anew; release it only if it is known to name nobody",
)
DRAWN = Reason(
    "something stands in the bits of its samples that are no picture",
    "(7FE0,0010)",
    "have its sender send overlays apart; release it only if they are known to name nobody",
)
OTHER_PIXELS = Reason(
    "another instance of the same UID, with other pixel data, is stored already",
    "(0008,0018)",
    "find out which one is right; drop this one, or give it a UID of its own",
)
HELD_DAMAGED = Reason(
    "the file of this UID that is stored already is damaged",
    "",
    "stop the gateway, run `radfed gateway reindex`, start it, then release this entry",
)


class ExpressLane:
    """Writes one de-identified file while its pixels arrive."""

    def __init__(
        self,
        means: Means,
        arrival: Arrival,
        result: Rewritten,
        original: bytearray,
        walk: Walk,
        found: Found | None,
        claim: Claim,
    ) -> None:
        self._means = means
        self._arrival = arrival
        self._result = result
        self._original = original  # every byte up to the value of Pixel Data
        self._walk = walk
        self._claim = claim
        self._names = Names.of(result.facts)
        self._pixels = means.store.seal.pixel_print()
        self._stored = means.store.seal.pixel_print()  # where something is blanked
        self._draft = means.store.draft()
        self._tail = bytearray()
        self._carried: Carried | None = None
        self._fragments: Fragments | None = None
        self._frames: Frames | None = None
        self._spare: SpareBits | None = None
        self._pixels_taken = 0
        self._pixels_wanted: int | None = 0 if found is None else found.length
        self._value_at = len(original) if found is None else found.value
        if self._pixels_wanted is None:
            self._fragments = Fragments()
            self._carried = Carried(self._fragments)
            facts = result.facts
            samples = (facts.rows or 0) * (facts.columns or 0)
            self._frames = Frames(arrival.transfer_syntax_uid, samples, result.spare)
        elif result.spare is not None:
            big_endian = arrival.transfer_syntax_uid == ExplicitVRBigEndian
            self._spare = SpareBits(result.spare, big_endian=big_endian)
        start = head(arrival.sop_class_uid, self._names.sop, arrival.transfer_syntax_uid)
        self._seal_at = len(start) - SIZE
        element = b"" if found is None else original[found.element :]
        header = result.header
        self._draft.hold(start, header, element)
        self._pixels_at = self._draft.size
        self._header_bytes = len(header) + len(element)
        self._header = means.store.seal.header_print()
        for part in (start[: self._seal_at], header, bytes(element)):
            self._header.update(part)
        self._in_tail = found is None
        if found is None:
            self._carried = Carried(walk, len(original))

    def take(self, *views: memoryview) -> Lane:
        if not self._in_tail and self._pixels_wanted is not None:
            return self._take_native(views, self._pixels_wanted)
        lane: Lane = self
        for view in views:
            lane = self._take_part(view) if lane is self else lane.take(view)
        return lane

    def _take_part(self, view: memoryview) -> Lane:
        if self._in_tail:
            return self._take_tail(view) if view else self
        return self._take_fragments(view)

    def finish(self, receipt: Receipt) -> Verdict:
        if self._pixels_wanted is None:
            return self._late(NO_END).finish(receipt)
        if self._pixels_taken < self._pixels_wanted or self._tail_is_cut(receipt):
            return self._late(CUT).finish(receipt)
        record = SealedRecord(
            received=receipt.digest.hex(),
            pixels=self._pixels.finalize().hex(),
            lane=LaneName.EXPRESS,
            sender=self._arrival.calling_ae,
            original=self._result.original,
            facts=self._result.facts,
            header_print=self._header.finalize().hex(),
            header_bytes=self._header_bytes,
            stored_pixels=self._stored.finalize().hex() if self._is_blanked else "",
        )
        try:
            sealed = self._means.store.seal.close(record, self._names.sop)
        except CannotSeal as fault:
            return self._late(Reason(str(fault), "", RESEND)).finish(receipt)
        self._draft.patch(sealed, self._seal_at)
        try:
            outcome = self._means.store.publish(self._draft, self._names, record)
        except HeldDamaged:
            return self._late(HELD_DAMAGED).finish(receipt)
        if outcome is Publication.CONFLICT:
            return self._late(OTHER_PIXELS).finish(receipt)
        return verdict_on(outcome, self._names, self._arrival, self._means)

    def abort(self) -> None:
        self._draft.close()
        self._claim.release()

    def _take_native(self, views: Sequence[memoryview], wanted: int) -> Lane:
        parts, surplus, left = [], [], wanted - self._pixels_taken
        for view in views:
            part = view[:left]
            left -= len(part)
            parts.append(part)
            surplus.append(view[len(part) :])
        self._keep(*parts)
        if left:
            return self
        if self._spare is not None and not self._spare.sound:
            return self._late(DRAWN).take(*surplus)
        return self._begin_tail().take(*surplus)

    def _take_fragments(self, view: memoryview) -> Lane:
        assert self._carried is not None
        assert self._fragments is not None
        assert self._frames is not None
        looked = self._carried.feed(view)
        end = self._fragments.end
        part = view if end is None else view[: end - self._pixels_taken]
        rest = view[len(part) :]
        try:
            self._keep(part)
            if end is not None:
                self._store(self._frames.end())
        except NotFrames as fault:
            return self._late(DRAWN if isinstance(fault, Drawn) else BAD_FRAMES).take(rest)
        if end is not None:
            self._pixels_wanted = self._pixels_taken
            return self._begin_tail().take(rest)
        return self if looked == NEED_MORE else self._late(BAD_FRAGMENTS)

    def _keep(self, *parts: memoryview) -> None:
        for part in parts:
            self._pixels.update(part)  # as sent, whatever is blanked: a resend is the same
            self._pixels_taken += len(part)
            if self._spare is not None:
                self._spare.feed(part)
        if self._frames is None:
            self._draft.write(*parts)
            return
        for part in parts:
            self._store(self._frames.feed(part))

    def _store(self, decided: bytes) -> None:
        self._stored.update(decided)
        self._draft.write(decided)

    def _begin_tail(self) -> Lane:
        self._in_tail = True
        end = self._value_at + self._pixels_taken
        self._walk.skip_to(end)
        self._carried = Carried(self._walk, end)
        return self

    def _take_tail(self, view: memoryview) -> Lane:
        assert self._carried is not None
        self._tail += view
        if self._carried.feed(view) != NEED_MORE:
            return self._late(BAD_TAIL)
        spent = not self._claim.grow(len(view))
        if spent or len(self._tail) > self._means.header_limit_bytes:
            return self._late(Reason("much follows pixel data"), for_operator=False)
        return self

    @property
    def _is_blanked(self) -> bool:
        return self._frames is not None and bool(self._frames.undo)

    def _tail_is_cut(self, receipt: Receipt) -> bool:
        return self._walk.ended(receipt.size) is not None

    def _late(self, reason: Reason, *, for_operator: bool = True) -> VaultLane:
        """Seal all that was received so far, as it was received; the draft vanishes."""
        lane = VaultLane(self._means, self._arrival, reason, for_operator=for_operator)
        try:
            lane.take(self._original)
            for part in self._read_back():
                lane.take(part)
            if self._frames is not None:
                lane.take(self._frames.held)
            lane.take(self._tail)
        except BaseException:
            lane.abort()
            raise
        finally:
            self.abort()
        return lane

    def _read_back(self) -> Iterator[bytes]:
        held = 0 if self._frames is None else len(self._frames.held)
        at, end = self._pixels_at, self._pixels_at + self._pixels_taken - held
        while at < end:
            part = self._draft.read(min(READ_BACK, end - at), at)
            yield part if self._frames is None else self._frames.as_sent(at - self._pixels_at, part)
            at += len(part)


def verdict_on(outcome: Publication, names: Names, arrival: Arrival, means: Means) -> Verdict:
    """Answer for a published file; what superseded another is remembered."""
    if outcome is Publication.DUPLICATE:
        return Verdict(VerdictKind.DUPLICATE, "the same bytes are stored already")
    if outcome is Publication.SUPERSEDED:
        means.audit.record("instance_superseded", sop=names.sop, sender=arrival.calling_ae)
        return Verdict(VerdictKind.STORED, "supersedes an earlier version of its header")
    return Verdict(VerdictKind.STORED)
