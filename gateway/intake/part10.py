"""The head of a DICOM file: preamble and file meta information (PS3.10 7.1), read with bounds."""

from dataclasses import dataclass
from struct import Struct
from typing import IO, Final

_SHORT_HEADER: Final = Struct("<HH2sH")  # Explicit VR Little Endian (PS3.5 7.1.2)
_LONG_LENGTH: Final = Struct("<I")
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"SQ", b"UT", b"UC"})
_META_AT_MOST: Final = 1 << 20
_GROUP: Final = 0x0002
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


class NotPart10(ValueError):
    """The file is no DICOM file, or its head is broken; the text never quotes it."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    sop_class: bytes
    sop_instance: bytes
    transfer_syntax: bytes


def read_file_meta(file: IO[bytes]) -> tuple[FileMeta, bytes]:
    """Read up to the dataset; return what it is, and the dataset's bytes read already.

    The group length (0002,0000) is not relied on: writers get it wrong.
    """
    head = file.read(132)
    if head[128:] != b"DICM":
        raise NotPart10("not a DICOM file (no Part 10 preamble)")
    found: dict[int, bytes] = {}
    left = _META_AT_MOST
    while len(header := file.read(_SHORT_HEADER.size)) == _SHORT_HEADER.size:
        group, element, vr, length = _SHORT_HEADER.unpack(header)
        if group != _GROUP:
            break
        if vr in _LONG_VRS:
            (length,) = _LONG_LENGTH.unpack(_exactly(file, _LONG_LENGTH.size))
        left -= length
        if left < 0:
            raise NotPart10("file meta information longer than any is")
        found[element] = _exactly(file, length)
    wanted = (found.get(tag, b"") for tag in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX))
    meta = FileMeta(*(value.rstrip(b"\0 ") for value in wanted))
    if not (meta.sop_class and meta.sop_instance and meta.transfer_syntax):
        raise NotPart10("its file meta information names no SOP class, instance or transfer syntax")
    return meta, header


def _exactly(file: IO[bytes], size: int) -> bytes:
    value = file.read(size)
    if len(value) != size:
        raise NotPart10("it ends inside its file meta information")
    return value
