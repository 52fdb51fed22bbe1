"""Find root Pixel Data in a dataset that is still arriving, and where its value ends.

No IO, no copy: a walk is shown a buffer and its place in the dataset, and remembers how far it
understood. It descends into every sequence, of defined length too, so that nesting is bounded
before anything recursive sees the bytes (PS3.5 7.5; pydicom gives up at about 249 levels).
"""

from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Final

from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined] # it is documented there

Buffer = bytes | bytearray | memoryview

MAX_NESTING = 64
UNDEFINED: Final = 0xFFFFFFFF

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009})
DELIMITERS: Final = 0xFFFE  # the group of items and their ends
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
ITEM_BYTES: Final = b"\xfe\xff\x00\xe0"  # how an item begins in little endian

SHORT, LONG = 8, 12  # bytes of an element's header (PS3.5 7.1.2)
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")


class Why(StrEnum):
    """Why a walk does not understand a dataset."""

    VR = "an element has no known value representation"
    ITEM = "a sequence holds something other than items"
    LENGTH = "a length does not fit what surrounds it"
    ORDER = "root elements are not in ascending order"
    NESTING = "sequences are nested too deeply"
    FLOAT_PIXELS = "it holds float or double float pixel data"
    PIXEL_VR = "pixel data has a value representation other than OB or OW"
    BIG_ENDIAN_UN = "a sequence of unknown VR in big endian"
    TRUNCATED = "it ends before its last element does"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written (PS3.5 7.1, A.1 - A.3)."""

    implicit: bool
    big_endian: bool


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Understood so far; show more."""


@dataclass(frozen=True, slots=True)
class Found:
    """Root Pixel Data: offsets of the element and of its value; no length if encapsulated."""

    element: int
    value: int
    length: int | None


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    why: Why


NEED_MORE: Final = NeedMore()
Look = NeedMore | Found | NotUnderstood


class _Lost(Exception):
    def __init__(self, why: Why) -> None:
        self.why = why


class _Short(Exception):
    """The buffer ends inside an element's header."""


@dataclass(slots=True)
class _Frame:
    """An open sequence (holding items) or dataset (holding elements)."""

    is_sequence: bool
    end: int | None  # None: up to a delimiter, or the end of the root
    implicit: bool


class Walk:
    """Walks one dataset; `position` is the first byte it has not yet understood.

    `position` may lie beyond what was shown: values are skipped, not looked at. It is never inside
    an element's header.
    """

    def __init__(self, encoding: Encoding, *, strict: bool = True) -> None:
        """Walk strictly, or forgive what only the express lane cannot handle."""
        self.position = 0
        self._strict = strict
        order = ">" if encoding.big_endian else "<"
        self._tag = Struct(order + "HH")
        self._implicit_header = Struct(order + "HHI")
        self._explicit_header = Struct(order + "HH2sH")
        self._length = Struct(order + "I")
        self._big_endian = encoding.big_endian
        self._root = _Frame(is_sequence=False, end=None, implicit=encoding.implicit)
        self._open: list[_Frame] = [self._root]
        self._last_tag = -1
        self._lost: NotUnderstood | None = None
        self._buffer: Buffer = b""
        self._base = 0

    def look(self, buffer: Buffer, base: int = 0) -> Look:
        """Go on through `buffer`, whose first byte is byte `base` of the dataset.

        Returns Found once; a later look goes on behind the header of Pixel Data only after
        `skip_to` was told where its value ends.
        """
        if self._lost is not None:
            return self._lost
        self._buffer, self._base = buffer, base
        try:
            while True:
                found = self._step()
                if found is not None:
                    return found
        except _Short:
            return NEED_MORE
        except _Lost as lost:
            self._lost = NotUnderstood(lost.why)
            return self._lost
        finally:
            self._buffer = b""

    def skip_to(self, position: int) -> None:
        """Go on behind Pixel Data."""
        self.position = position

    def stand_at(self, found: Found) -> None:
        """Begin behind the header of Pixel Data that another found."""
        self._last_tag = PIXEL_DATA
        self.position = found.value

    def ended(self, total: int) -> NotUnderstood | None:
        """Say what is wrong with a dataset that ends after `total` bytes."""
        if self._lost is not None:
            return self._lost
        while len(self._open) > 1 and self._open[-1].end == self.position:
            self._open.pop()
        if len(self._open) > 1 or self.position != total:
            return NotUnderstood(Why.TRUNCATED)
        return None

    def _step(self) -> Found | None:
        """Understand one element or item header."""
        frame = self._open[-1]
        end = frame.end
        if end is not None and self.position >= end:
            if self.position > end:
                raise _Lost(Why.LENGTH)
            self._open.pop()
            return None
        at = self.position - self._base
        if at + SHORT > len(self._buffer):
            raise _Short
        group, number = self._tag.unpack_from(self._buffer, at)
        tag = group << 16 | number
        if frame.is_sequence or group == DELIMITERS:
            self._item(frame, tag, at)
            return None
        return self._element(frame, tag, at)

    def _item(self, frame: _Frame, tag: int, at: int) -> None:
        """Open a dataset at an item, close one at a delimiter (PS3.5 7.5.2)."""
        (length,) = self._length.unpack_from(self._buffer, at + 4)
        after = self.position + SHORT
        if frame.is_sequence and tag == ITEM:
            self._enter(frame, after, length, is_sequence=False, implicit=frame.implicit)
        elif tag == (SEQUENCE_END if frame.is_sequence else ITEM_END) and (
            frame.end is None and frame is not self._root
        ):
            self._open.pop()
            self.position = after
        else:
            raise _Lost(Why.ITEM)

    def _element(self, frame: _Frame, tag: int, at: int) -> Found | None:
        at_root = frame is self._root
        if at_root and self._strict:
            if tag <= self._last_tag:
                raise _Lost(Why.ORDER)
            if tag in FLOAT_PIXEL_DATA:
                raise _Lost(Why.FLOAT_PIXELS)
        vr, header, length = self._header(frame, at)
        if at_root and tag == PIXEL_DATA:
            return self._pixel_data(vr, header, length)
        self._value(frame, tag, vr, length, header, at)
        if at_root:
            self._last_tag = tag
        return None

    def _pixel_data(self, vr: bytes, header: int, length: int) -> Found:
        if vr not in {b"", b"OB", b"OW"}:
            raise _Lost(Why.PIXEL_VR)
        found = Found(
            self.position, self.position + header, None if length == UNDEFINED else length
        )
        self._last_tag = PIXEL_DATA
        self.position = found.value
        return found

    def _header(self, frame: _Frame, at: int) -> tuple[bytes, int, int]:
        """Return VR (empty if implicit), bytes of the header, and length of the value."""
        if frame.implicit:
            return b"", SHORT, self._length.unpack_from(self._buffer, at + 4)[0]
        _, _, vr, length = self._explicit_header.unpack_from(self._buffer, at)
        if vr in SHORT_VRS:
            return vr, SHORT, length
        if vr not in LONG_VRS:
            raise _Lost(Why.VR)
        if at + LONG > len(self._buffer):
            raise _Short
        return vr, LONG, self._length.unpack_from(self._buffer, at + SHORT)[0]

    def _value(self, frame: _Frame, tag: int, vr: bytes, length: int, header: int, at: int) -> None:
        """Skip a value, or enter a sequence."""
        after = self.position + header
        if length == UNDEFINED:
            if vr not in {b"", b"SQ", b"UN"}:
                raise _Lost(Why.LENGTH)
            if vr == b"UN" and self._big_endian:
                raise _Lost(Why.BIG_ENDIAN_UN)
            # An undefined length under UN is implicit VR little endian (PS3.5 6.2.2 note 2).
            implicit = frame.implicit or vr == b"UN"
            self._enter(frame, after, length, is_sequence=True, implicit=implicit)
            return
        if vr == b"SQ" or (not vr and tag in SEQUENCES):
            self._enter(frame, after, length, is_sequence=True, implicit=frame.implicit)
            return
        if not vr and self._looks_like_a_sequence(at + header, length):
            self._enter(frame, after, length, is_sequence=True, implicit=True)
            return
        if frame.end is not None and after + length > frame.end:
            raise _Lost(Why.LENGTH)
        self.position = after + length

    def _looks_like_a_sequence(self, at: int, length: int) -> bool:
        """In implicit VR a private sequence shows only by its first item."""
        if length < SHORT:
            return False
        if at + SHORT > len(self._buffer):
            raise _Short
        return bytes(self._buffer[at : at + 4]) == ITEM_BYTES

    def _enter(
        self, frame: _Frame, after: int, length: int, *, is_sequence: bool, implicit: bool
    ) -> None:
        end = None if length == UNDEFINED else after + length
        if end is not None and frame.end is not None and end > frame.end:
            raise _Lost(Why.LENGTH)
        # Each level is a sequence and an item in it.
        if len(self._open) > 2 * MAX_NESTING:
            raise _Lost(Why.NESTING)
        self._open.append(_Frame(is_sequence, end, implicit))
        self.position = after


class Fragments:
    """Walks encapsulated Pixel Data to its sequence delimiter (PS3.5 A.4).

    `position` counts from the value's first byte; `ended` is the offset behind the delimiter.
    """

    _header = Struct("<HHI")

    def __init__(self) -> None:
        self.position = 0
        self.end: int | None = None

    def look(self, buffer: Buffer, base: int = 0) -> NeedMore | NotUnderstood | None:
        """Go on; None once the delimiter was seen and `end` is known."""
        position = self.position
        size = base + len(buffer)
        while self.end is None:
            if position + SHORT > size:
                self.position = position
                return NEED_MORE
            group, number, length = self._header.unpack_from(buffer, position - base)
            tag = group << 16 | number
            position += SHORT
            if tag == ITEM and length != UNDEFINED:
                position += length
            elif tag == SEQUENCE_END and length == 0:
                self.end = position
            else:
                return NotUnderstood(Why.ITEM)
        self.position = position
        return None


def check(raw: Buffer, encoding: Encoding) -> NotUnderstood | None:
    """Walk a whole dataset, forgivingly; None where every length meets the next."""
    walk = Walk(encoding, strict=False)
    view = memoryview(raw)
    looked = walk.look(view)
    while isinstance(looked, Found):
        end = looked.value + (looked.length or 0)
        if looked.length is None:
            fragments = Fragments()
            fragments.look(view[looked.value :])
            if fragments.end is None:
                return NotUnderstood(Why.TRUNCATED)
            end = looked.value + fragments.end
        walk.skip_to(end)
        looked = walk.look(view)
    return looked if isinstance(looked, NotUnderstood) else walk.ended(len(view))


class Carried:
    """Shows chunks to a walk, keeping only the bytes of a header that a chunk's end cut."""

    def __init__(self, walk: "Walk | Fragments", base: int = 0) -> None:
        self.walk = walk
        self._base = base  # the place of the first byte not yet shown, or of the carried ones
        self._kept = b""

    def feed(self, chunk: memoryview) -> Look | None:
        """Show the next chunk; a result other than NEED_MORE is the walk's."""
        if self._kept:
            joined = self._kept + bytes(chunk[: LONG + SHORT])
            looked = self.walk.look(joined, self._base)
            if looked != NEED_MORE or len(joined) - len(self._kept) == len(chunk):
                self._keep(joined)
                return looked
            self._base += len(self._kept)
            self._kept = b""
        looked = self.walk.look(chunk, self._base)
        self._keep(chunk)
        return looked

    def _keep(self, shown: Buffer) -> None:
        """Remember what the walk has not passed yet."""
        passed = min(self.walk.position - self._base, len(shown))
        self._kept = bytes(shown[passed:])
        self._base += passed
