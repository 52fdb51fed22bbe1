"""The head of a stored file: preamble, file meta and room for its sealed record (PS3.10 7.1)."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import Struct

from gateway.errors import IntegrityFault
from gateway.store.sealed import CREATOR_UID, SIZE

IMPLEMENTATION_CLASS_UID = "2.25.51565490559753528462338978224365456580"
IMPLEMENTATION_VERSION = "RADFED_0_1"
META_START = 132  # preamble and DICM
GROUP_END = 144  # behind (0002,0000), whose value counts what follows
HEAD_BYTES = 4096  # more than any head written here
_LENGTH = Struct("<I")
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")


@dataclass(frozen=True, slots=True)
class Head:
    """What a stored file says before its dataset."""

    sop_uid: str
    transfer_syntax_uid: str
    sealed: bytes
    dataset: int  # offset of the dataset


def head(sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta; its last SIZE bytes are zeros, for the sealed record."""
    before, after = _constant_parts(sop_class_uid, transfer_syntax_uid)
    meta = before + _uid(0x0003, sop_uid) + after
    group = _SHORT.pack(2, 0, b"UL", 4) + _LENGTH.pack(len(meta) + SIZE)
    return bytes(128) + b"DICM" + group + meta + bytes(SIZE)


def read_head(path: Path | str) -> Head:
    """Read it back without parsing the dataset; IntegrityFault when it is not one of ours."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = os.pread(descriptor, HEAD_BYTES, 0)
    finally:
        os.close(descriptor)
    return parse_head(raw)


def parse_head(raw: bytes) -> Head:
    if len(raw) < GROUP_END or raw[128:META_START] != b"DICM":
        raise IntegrityFault("a stored file does not begin as DICOM Part 10")
    end = GROUP_END + _LENGTH.unpack_from(raw, GROUP_END - 4)[0]
    if end > len(raw) or raw[end - SIZE - 12 : end - SIZE] != _RECORD_HEADER:
        raise IntegrityFault("a stored file has no sealed record")
    uids = {}
    at = GROUP_END + 14  # behind (0002,0001)
    while at < end - SIZE - 12:
        _, element, _, length = _SHORT.unpack_from(raw, at)
        uids[element] = raw[at + 8 : at + 8 + length].rstrip(b"\0 ").decode("ascii")
        at += 8 + length
    return Head(uids[0x0003], uids[0x0010], raw[end - SIZE : end], end)


_RECORD_HEADER = _LONG.pack(2, 0x0102, b"OB", 0, SIZE)


@lru_cache(maxsize=256)
def _constant_parts(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Return the file meta before and after the instance's UID: the same for a whole series."""
    version = _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1"
    name = IMPLEMENTATION_VERSION.encode("ascii")
    name += b" " * (len(name) % 2)
    after = (
        _uid(0x0010, transfer_syntax_uid)
        + _uid(0x0012, IMPLEMENTATION_CLASS_UID)
        + _SHORT.pack(2, 0x0013, b"SH", len(name))
        + name
        + _uid(0x0100, CREATOR_UID)
        + _RECORD_HEADER
    )
    return version + _uid(0x0002, sop_class_uid), after


def _uid(element: int, uid: str) -> bytes:
    """Encode a UID of the file meta, padded to even length by a NUL (PS3.5 6.2)."""
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _SHORT.pack(2, element, b"UI", len(value)) + value
