"""Reading what lies in the vault: bytes of a dataset in, a dataset without its patient out."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.deid.codestream import Drawn, NotFrames, blanked
from gateway.deid.engine import Deidentified, Refusal
from gateway.deid.pixel_rules import Corners
from gateway.deid.spare import SpareBits
from gateway.deid.walk import UNDEFINED, Encoding, Why, check
from gateway.line.encoding import Syntax, TooMuch, inflate, parse, syntax_of
from gateway.line.express import BAD_FRAMES, CUT, DRAWN, RESEND
from gateway.line.header import MISMATCH, ODD_PIXELS, TOO_DEEP, contradicts, refused
from gateway.line.header import UNKNOWN_SYNTAX as UNKNOWN
from gateway.line.pixel_look import PixelLook
from gateway.line.terms import Means
from gateway.model import Lane
from gateway.store.sealed import SealedRecord
from gateway.vault.entry import Kept, Reason

PIXEL_DATA = "PixelData"
PIXEL_KINDS = (PIXEL_DATA, "FloatPixelData", "DoubleFloatPixelData")
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"  # what pydicom takes off encapsulated pixel data
NOT_DEFLATED = Reason("its transfer syntax is deflated, its bytes are not", "", RESEND)
BOMB = Reason(
    "it inflates to more than 256 MiB, or more than 200 times what was sent",
    "",
    "drop it, and let the sender send it in a transfer syntax that is not deflated",
)


@dataclass(frozen=True, slots=True)
class Ready:
    """A dataset without its patient, and what is still known of how it came."""

    result: Deidentified
    syntax: Syntax
    record: SealedRecord
    surplus: bool
    known: list[Corners]


class Unfit(Exception):
    """It cannot be stored, for this reason."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class Reading:
    """Reads whole datasets, as the express lane reads them piece by piece."""

    def __init__(self, means: Means, pixel_look: PixelLook) -> None:
        self._means = means
        self._pixel_look = pixel_look

    def ready(self, kept: Kept, chunks: Iterator[bytes]) -> Ready:
        """Read a dataset whole and take its patient out of the header; Unfit where it cannot."""
        arrival = kept.arrival
        syntax = syntax_of(arrival.transfer_syntax_uid)
        if syntax is None:
            raise Unfit(UNKNOWN)
        if syntax.deflated:  # nothing is stored deflated
            raw, transfer_syntax_uid = _inflated(kept, chunks), str(ExplicitVRLittleEndian)
        else:
            raw, transfer_syntax_uid = b"".join(chunks), arrival.transfer_syntax_uid
        dataset = parse(raw, understood(raw, syntax.encoding))
        if contradicts(dataset, arrival):
            raise Unfit(Reason(MISMATCH, "(0008,0016) (0008,0018)", RESEND))
        pixels = self._pixel_print(dataset, encapsulated=syntax.encapsulated)
        values = [] if syntax.encapsulated else native_values(dataset)
        known = self._pixel_look.known(dataset)
        result = self._means.engine.apply(dataset, transfer_syntax_uid)
        if isinstance(result, Refusal):
            raise Unfit(refused(result))
        record = SealedRecord(
            received=kept.received,
            pixels=pixels,
            lane=Lane.VAULT,
            sender=arrival.calling_ae,
            original=result.original,
            facts=result.facts,
        )
        return Ready(result, syntax, record, has_surplus(values, result.pixel_bytes), known)

    def _pixel_print(self, dataset: Dataset, *, encapsulated: bool) -> str:
        """Print the pixels as the express lane would, so that both lanes know a duplicate."""
        fingerprint = self._means.store.seal.pixel_print()
        if PIXEL_DATA in dataset:
            element: Any = dataset.get_item(PIXEL_DATA)
            if (element.length == UNDEFINED) is not encapsulated:  # raw: nobody has touched it
                raise Unfit(ODD_PIXELS)
            fingerprint.update(element.value or b"")
            fingerprint.update(SEQUENCE_END if encapsulated else b"")
        return fingerprint.finalize().hex()


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
                raise Unfit(DRAWN)
    except NotFrames as fault:
        if not cleared:
            raise Unfit(DRAWN if isinstance(fault, Drawn) else BAD_FRAMES) from None


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
        raise Unfit(TOO_DEEP)
    other = Encoding(implicit=not declared.implicit, big_endian=False)
    if check(raw, other) is None:
        return other
    raise Unfit(CUT if fault.why is Why.TRUNCATED else Reason(str(fault.why), "", RESEND))


def _inflated(kept: Kept, chunks: Iterator[bytes]) -> bytes:
    try:
        return inflate(chunks, kept.size_bytes)
    except TooMuch as fault:
        raise Unfit(BOMB) from fault
    except zlib.error as fault:
        raise Unfit(NOT_DEFLATED) from fault
