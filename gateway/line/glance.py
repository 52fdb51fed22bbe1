"""A quick look at a stored file's own header: a few root values, without pydicom.

Grading looks at every instance of every series; pydicom takes most of a millisecond for each.
"""

import os
from pathlib import Path
from struct import Struct

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID

from gateway.deid.walk import LONG, LONG_VRS, SHORT, SHORT_VRS, UNDEFINED
from gateway.quality.slices import TAGS
from gateway.store.part10 import parse_head

READ_BYTES = 64 << 10
_WANTED = {tag: keyword for keyword in TAGS if (tag := tag_for_keyword(keyword))}
_NUMBERS = frozenset(keyword for keyword in TAGS if dictionary_VR(keyword) == "US")
_LAST = max(_WANTED)
_explicit = Struct("<HH2sH").unpack_from
_implicit = Struct("<HHI").unpack_from
_u32 = Struct("<I").unpack_from

Value = str | list[str] | int


def glance(path: Path) -> dict[str, Value] | None:
    """Return what quality asks for, by keyword; None where a reader of everything must look."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = os.pread(descriptor, READ_BYTES, 0)
    finally:
        os.close(descriptor)
    head = parse_head(raw)
    syntax = UID(head.transfer_syntax_uid)
    if not syntax.is_little_endian or syntax.is_deflated:
        return None
    return _root_values(raw, head.dataset, implicit=syntax.is_implicit_VR)


def _root_values(raw: bytes, at: int, *, implicit: bool) -> dict[str, Value] | None:
    """Walk along the root; None at anything whose length does not say where it ends."""
    found: dict[str, Value] = {}
    size = len(raw) - LONG
    while at <= size:
        if implicit:
            group, number, length = _implicit(raw, at)
            value = at + SHORT
        else:
            group, number, vr, length = _explicit(raw, at)
            value = at + SHORT
            if vr not in SHORT_VRS:
                if vr not in LONG_VRS:
                    return None
                (length,) = _u32(raw, value)
                value = at + LONG
        tag = group << 16 | number
        if tag > _LAST:
            return found
        if length == UNDEFINED:
            return None
        at = value + length
        if tag in _WANTED and at <= len(raw):
            found[_WANTED[tag]] = _value(_WANTED[tag], raw[value:at])
    return None


def _value(keyword: str, raw: bytes) -> Value:
    if keyword in _NUMBERS:
        return int.from_bytes(raw[:2], "little") if raw else ""
    parts = [part.strip("\0 ") for part in raw.decode("latin-1").split("\\")]
    return parts if len(parts) > 1 else parts[0]
