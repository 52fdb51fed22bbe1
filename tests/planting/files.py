"""Real files, and datasets written byte by byte so that nothing is repaired on the way."""

import warnings
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from struct import pack

import pydicom.data
from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence

WHEEL = Path(pydicom.data.__file__).parent
SHARED = Path(__file__).parents[3] / "shared" / "data" / "dicom"
IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Real:
    """One Part 10 file of a collection: its dataset as it travels."""

    name: str
    syntax: str
    sop_class: str
    sop_uid: str
    raw: bytes

    def dataset(self) -> Dataset:
        import zlib

        raw = zlib.decompress(self.raw, -15) if self.syntax == DEFLATED else self.raw
        return read_dataset(BytesIO(raw), self.syntax == IMPLICIT, self.syntax != BIG)


@cache
def real_files() -> tuple[Real, ...]:
    """Every file of both collections that says what it is; duplicates of a file once."""
    paths = sorted(SHARED.glob("*.dcm")) if SHARED.is_dir() else []
    paths += sorted(path for path in WHEEL.rglob("*") if path.is_file())
    found: dict[bytes, Real] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            real = _read(path)
            if real is not None:
                found.setdefault(real.raw, real)
    return tuple(found.values())


def _read(path: Path) -> Real | None:
    raw = path.read_bytes()
    if raw[128:132] != b"DICM" or raw[132:136] != b"\x02\0\0\0":
        return None
    try:
        meta = dcmread(path, stop_before_pixels=True).file_meta
        inside = dcmread(path, stop_before_pixels=True, force=True)  # a sender names what is in it
        uids = (
            meta.TransferSyntaxUID,
            inside.get("SOPClassUID") or meta.MediaStorageSOPClassUID,
            inside.get("SOPInstanceUID") or meta.MediaStorageSOPInstanceUID,
        )
    except Exception:  # noqa: BLE001 - files that are wrong on purpose
        return None
    return Real(path.name, *map(str, uids), raw[144 + int.from_bytes(raw[140:144], "little") :])


def written(dataset: Dataset, syntax: str) -> bytes:
    """Write elements as they are, raw ones byte by byte."""
    import zlib

    raw = _dataset(dataset, implicit=syntax == IMPLICIT, order=">" if syntax == BIG else "<")
    if syntax == DEFLATED:
        deflator = zlib.compressobj(wbits=-15)
        return deflator.compress(raw) + deflator.flush()
    return raw


def _dataset(dataset: Dataset, *, implicit: bool, order: str) -> bytes:
    return b"".join(
        _element(dataset._dict[tag], implicit=implicit, order=order)
        for tag in sorted(dataset._dict)
    )


def _element(element: DataElement | RawDataElement, *, implicit: bool, order: str) -> bytes:
    if element.VR == "SQ" and isinstance(element.value, Sequence):
        items = b"".join(
            pack(order + "HHI", 0xFFFE, 0xE000, len(raw)) + raw
            for raw in (_dataset(item, implicit=implicit, order=order) for item in element.value)
        )
        if getattr(element, "is_undefined_length", False):
            end = pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
            return (
                _head(element.tag, b"SQ", UNDEFINED, implicit=implicit, order=order) + items + end
            )
        return _head(element.tag, b"SQ", len(items), implicit=implicit, order=order) + items
    if isinstance(element, RawDataElement):
        value, length = element.value or b"", len(element.value or b"")
        if element.length == UNDEFINED and element.tag == 0x7FE00010:
            length, value = UNDEFINED, value + pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
        vr = (element.VR or "UN").encode()
        return _head(element.tag, vr, length, implicit=implicit, order=order) + value
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, order == "<"
    write_data_element(buffer, element, ["latin_1"])
    return bytes(buffer.getvalue())


def _head(tag: int, vr: bytes, length: int, *, implicit: bool, order: str) -> bytes:
    start = pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return start + pack(order + "I", length)
    if vr in LONG:
        return start + vr + b"\0\0" + pack(order + "I", length)
    if length > 0xFFFE:
        return start + b"UN\0\0" + pack(order + "I", length)
    return start + vr + pack(order + "H", length)
