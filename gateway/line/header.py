"""The first lane: a header is buffered up to root Pixel Data, then decided about.

header --- Pixel Data or the end reached, de-identified ---> express ---> published
  |                                                            |
  |  not understood, too long, refused, risky pixels           |  late refusal
  +----------------------------> vault <-----------------------+
"""

from pathlib import Path
from traceback import extract_tb

from pydicom.dataset import Dataset

from gateway.deid.engine import PIXEL_ADVICE, Deidentified, Refusal
from gateway.deid.faces import Sight
from gateway.deid.stream import NotUnderstood as Doubted
from gateway.deid.stream import Streamed
from gateway.deid.stream_scout import scout
from gateway.deid.walk import Carried, Found, NotUnderstood, Walk, Why
from gateway.line.budget import REFERENCE_WEIGHS, STREAM_WEIGHS, Claim
from gateway.line.encoding import Syntax, encode, parse, syntax_of
from gateway.line.express import CUT, ExpressLane
from gateway.line.terms import Lane, Means, Receipt, Rewritten, Verdict
from gateway.line.vaulting import RejectedLane, VaultLane
from gateway.model import Arrival
from gateway.vault.entry import Reason

TOO_LONG = Reason("its header is longer than the express lane buffers")
NO_MEMORY = Reason("other headers fill the memory set aside for them")
DEFLATED = Reason("its transfer syntax is deflated")
UNKNOWN_SYNTAX = Reason(
    "its transfer syntax is not known here",
    "(0002,0010)",
    "let the sender convert it to one that `radfed gateway conformance` lists, or drop it",
)
ODD_PIXELS = Reason(
    "its pixel data do not fit its transfer syntax",
    "(7FE0,0010)",
    "let the sender say the transfer syntax its pixel data are really in, and send it again",
)
SURPLUS = Reason(
    "its pixel data are longer than its rows, columns, frames, samples and bits account for",
    "(7FE0,0010)",
    "have its sender correct it; release it only if what is left over is known to name nobody",
)
FACE_WAITS = Reason("its series may show a face, and waits until it is whole")
TOO_DEEP = Reason(str(Why.NESTING), "", "correct it at the sender: 64 levels are read")
MISMATCH = "the dataset's SOP Class or Instance UID is not its command's"


def first_lane(means: Means, arrival: Arrival, claim: Claim) -> Lane:
    """Choose by transfer syntax alone; most begin with their header."""
    syntax = syntax_of(arrival.transfer_syntax_uid)
    if syntax is None:
        return VaultLane(means, arrival, UNKNOWN_SYNTAX, for_operator=False)
    if syntax.deflated:
        return VaultLane(means, arrival, DEFLATED, for_operator=False)
    return HeaderLane(means, arrival, syntax, claim)


class HeaderLane:
    """Buffers what identifies a patient in memory, and nowhere else."""

    def __init__(self, means: Means, arrival: Arrival, syntax: Syntax, claim: Claim) -> None:
        self._means = means
        self._claim = claim
        self._arrival = arrival
        self._syntax = syntax
        self._header = bytearray()
        self._walk = Walk(syntax.encoding)
        self._carried = Carried(self._walk)

    def take(self, *views: memoryview) -> Lane:
        """Take parts until one leads to another lane, which takes the rest."""
        for number, view in enumerate(views, 1):
            lane = None if self._header else self._at_once(view)
            lane = lane or self._walked(view)
            if lane is not self:
                return lane.take(*views[number:])
        return self

    def _at_once(self, view: memoryview) -> Lane | None:
        """Take a header that came in one piece, where the stream engine understands all of it."""
        encoding = self._syntax.encoding
        if self._walk.position or self._means.stream is None or encoding.big_endian:
            return None
        found = scout(view, implicit=encoding.implicit)
        if (
            found is None
            or found.value > self._means.header_limit_bytes
            or (found.length is None) is not self._syntax.encapsulated
        ):
            return None
        streamed = self._streamed(bytes(view[: found.element]))
        if streamed is None or not self._claim.grow(found.value):
            return None
        self._means.require_room(found.length or 0)
        self._header += view[: found.value]
        self._walk.stand_at(found)
        return self._lane_or_vault(streamed, found).take(view[found.value :])

    def _lane_or_vault(self, streamed: Streamed, found: Found) -> Lane:
        try:
            return self._lane_of(streamed, found)
        except OSError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, the instance must not be lost
            return self._to_vault(failed(fault), for_operator=True)

    def _walked(self, view: memoryview) -> Lane:
        looked = self._carried.feed(view)
        if isinstance(looked, Found):
            cut = looked.value - len(self._header)
            if not self._claim.grow(cut):
                return self._overflow(view)
            self._header += view[:cut]
            return self._decide(looked).take(view[cut:])
        if not self._claim.grow(len(view)):
            return self._overflow(view)
        self._header += view
        if isinstance(looked, NotUnderstood):
            return self._to_vault_because(looked.why)
        if len(self._header) > self._means.header_limit_bytes:
            return self._to_vault(TOO_LONG)
        return self

    def ended(self, receipt: Receipt) -> Lane:
        """Decide about a dataset without pixel data: all of it is header."""
        cut = self._walk.ended(receipt.size) is not None
        return self._to_vault(CUT, for_operator=True) if cut else self._decide(None)

    def finish(self, receipt: Receipt) -> Verdict:
        lane = self.ended(receipt)
        try:
            return lane.finish(receipt)
        finally:
            lane.abort()

    def abort(self) -> None:
        self._header = bytearray()
        self._claim.release()

    def _decide(self, found: Found | None) -> Lane:
        """De-identify the header and choose the lane of the rest."""
        if found is not None:
            if len(self._header) > self._means.header_limit_bytes:
                return self._to_vault(TOO_LONG)
            if (found.length is None) is not self._syntax.encapsulated:
                return self._to_vault(ODD_PIXELS)
            self._means.require_room(found.length or 0)
        end = len(self._header) if found is None else found.element
        try:
            raw = bytes(memoryview(self._header)[:end])
            streamed = self._streamed(raw)
            if streamed is not None:
                return self._lane_of(streamed, found)
            return self._by_reference(raw, found)
        except OSError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, the instance must not be lost
            return self._to_vault(failed(fault), for_operator=True)

    def _streamed(self, raw: bytes) -> Streamed | None:
        """Ask the stream engine; None where the reference engine must look."""
        stream, arrival = self._means.stream, self._arrival
        weight = STREAM_WEIGHS * len(raw)
        if stream is None or self._syntax.encoding.big_endian or not self._claim.grow(weight):
            return None
        try:
            result = stream.apply(raw, arrival.transfer_syntax_uid)
        finally:
            self._claim.shrink(weight)
        if isinstance(result, Doubted):
            return None
        named = (result.facts.sop_class_uid, result.original.sop_uid)
        return result if named == (arrival.sop_class_uid, arrival.sop_instance_uid) else None

    def _by_reference(self, raw: bytes, found: Found | None) -> Lane:
        weight = REFERENCE_WEIGHS * len(raw)
        if not self._claim.grow(weight):
            return self._to_vault(NO_MEMORY)
        try:
            return self._referred(raw, found)
        finally:
            self._claim.shrink(weight)

    def _referred(self, raw: bytes, found: Found | None) -> Lane:
        dataset = parse(raw, self._syntax.encoding)
        if contradicts(dataset, self._arrival):
            return RejectedLane(MISMATCH)
        result = self._means.engine.apply(dataset, self._arrival.transfer_syntax_uid)
        if isinstance(result, Refusal):
            return self._to_vault(refused(result), for_operator=True)
        return self._lane_of(result, found)

    def _lane_of(self, result: Streamed | Deidentified, found: Found | None) -> Lane:
        if result.needs_pixels is not None:
            return self._to_vault(Reason(result.needs_pixels.why, "", PIXEL_ADVICE))
        if result.face.seen is not Sight.NONE:
            return self._to_vault(FACE_WAITS)
        if found is not None and found.length is not None and found.length > result.pixel_bytes:
            return self._to_vault(SURPLUS)
        if isinstance(result, Streamed):
            header = result.header
            self._means.count("express_stream")
        else:
            header = encode(result.dataset, self._syntax.encoding)
            self._means.count("express_reference")
        return ExpressLane(
            self._means,
            self._arrival,
            Rewritten(header, result.original, result.facts, result.spare),
            self._header,
            self._walk,
            found,
            self._claim,
        )

    def _overflow(self, view: memoryview) -> Lane:
        return self._to_vault(NO_MEMORY).take(view)

    def _to_vault_because(self, why: Why) -> Lane:
        if why is Why.NESTING:
            return self._to_vault(TOO_DEEP, for_operator=True)
        return self._to_vault(Reason(str(why)))

    def _to_vault(self, reason: Reason, *, for_operator: bool = False) -> VaultLane:
        lane = VaultLane(self._means, self._arrival, reason, for_operator=for_operator)
        lane.take(self._header)
        self.abort()
        return lane


def contradicts(dataset: Dataset, arrival: Arrival) -> bool:
    """Say whether a dataset names another instance than its command (PS3.4 B.2.3, 0xA900)."""
    return (
        str(dataset.get("SOPInstanceUID", arrival.sop_instance_uid)) != arrival.sop_instance_uid
        or str(dataset.get("SOPClassUID", arrival.sop_class_uid)) != arrival.sop_class_uid
    )


def refused(refusal: Refusal) -> Reason:
    return Reason(str(refusal.reason), refusal.place, refusal.advice)


def failed(fault: Exception) -> Reason:
    """Name a fault by its kind and where it rose: its text may quote the patient."""
    innermost = extract_tb(fault.__traceback__)[-1]
    place = f"{Path(innermost.filename).name}:{innermost.lineno}"
    return Reason(
        f"de-identification failed ({type(fault).__name__} at {place})",
        "",
        "keep it here and report kind and place; release it after an update",
    )
