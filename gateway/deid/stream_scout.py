"""A first look for Pixel Data along the root alone, for headers that arrive in one piece.

It passes over what a defined length says it may, and gives up at everything else: then the walk
looks (`walk.py`). What it finds must still be cut by the stream engine, which goes into every
sequence, before anything is made of it.
"""

from struct import Struct

from gateway.deid.walk import (
    FLOAT_PIXEL_DATA,
    LONG,
    LONG_VRS,
    PIXEL_DATA,
    SHORT,
    SHORT_VRS,
    UNDEFINED,
    Found,
)

_explicit = Struct("<HH2sH").unpack_from
_implicit = Struct("<HHI").unpack_from
_u32 = Struct("<I").unpack_from


def scout(view: memoryview, *, implicit: bool) -> Found | None:
    """Find root Pixel Data in the first bytes of a little endian dataset; None when in doubt."""
    at, size, last, vr = 0, len(view) - LONG, -1, b""
    while at <= size:
        if implicit:
            group, number, length = _implicit(view, at)
            value = at + SHORT
        else:
            group, number, vr, length = _explicit(view, at)
            value = at + SHORT
            if vr not in SHORT_VRS:
                if vr not in LONG_VRS:
                    return None
                (length,) = _u32(view, at + SHORT)
                value = at + LONG
        tag = group << 16 | number
        if tag <= last or tag in FLOAT_PIXEL_DATA:
            return None
        if tag == PIXEL_DATA:
            if vr not in {b"", b"OB", b"OW"}:
                return None
            return Found(at, value, None if length == UNDEFINED else length)
        if length == UNDEFINED or tag > PIXEL_DATA:
            return None
        last = tag
        at = value + length
    return None
