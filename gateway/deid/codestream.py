"""Compressed frames as they pass: what they carry beside the picture is blanked where it stands.

A JPEG or JPEG 2000 stream may hold comments and application data, a JP2 or JPEG XL file boxes of
text; none of it is the picture, and any of it may name somebody. Blanked, not cut out: every length
and offset table stays true, and frames that carry nothing are passed as they came.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from struct import Struct
from typing import Final

from gateway.deid.beside import (
    CONTAINERS,
    MADE_BY,
    NEEDED,
    PICTURE_BOXES,
    SETTINGS,
    SETTINGS_AT_MOST,
)
from gateway.deid.markers import ALONE_2000, COMMENT, COMMENT_2000, FORMS, SOS, read_2000
from gateway.deid.rle import Segments
from gateway.deid.spare import Layout
from gateway.deid.walk import ITEM, SEQUENCE_END, SHORT, UNDEFINED

RLE: Final = "1.2.840.10008.1.2.5"
# Syntaxes whose frames are streams of markers or boxes; the others pass as they are.
MARKED = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(?:5\d|6[0-6]|70|8[01]|9[0-3]|20[1-3]|11[0-2])")
TABLE_AT_MOST = 16 << 20  # bytes of a basic offset table
BLANKED_AT_MOST = 1 << 20  # an image with more beside it is looked at
SOI, SOC, JXL = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a"
BOXED = (b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL ")
EOI, SOT, SOD, EOC = 0xD9, 0x90, 0x93, 0xD9
PREFIX, MARKER, MARKED_LENGTH, TILE_PART = 0xFF, 2, 4, 12  # bytes of a marker, with its length...
HEADER, SEGMENTS, BOX = (
    64,
    15,
    16,
)  # RLE's header, and what it counts; a box's header
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
IN_SCAN = re.compile(rb"\xff(?=[\x80-\xcf\xd8-\xfe])")
END_OF_STREAM = re.compile(rb"\xff\xd9")
_item = Struct("<HHI").unpack_from


State = Callable[[int, int], int]


class NotFrames(Exception):
    """The fragments are not what their transfer syntax says; the text quotes nothing of them."""


class Drawn(NotFrames):
    """Something stands in bits of the samples that are no picture."""


class Frames:
    """Passes encapsulated Pixel Data (PS3.5 A.4), piece by piece; lengths stay as they are."""

    def __init__(
        self, transfer_syntax_uid: str, samples: int = 0, layout: Layout | None = None
    ) -> None:
        """Take how many samples one colour of a frame has, and how they lie; 0 where unknown."""
        self._rle = transfer_syntax_uid == RLE
        self._samples, self._layout = samples, layout
        self._segments: Segments | None = None
        self._marked = MARKED.fullmatch(transfer_syntax_uid) is not None
        self._read_2000 = read_2000(transfer_syntax_uid)
        self._buffer = bytearray()
        self._passed = 0  # bytes decided and given back
        self._left = 0  # of the fragment at hand
        self._is_table = True
        self._state: State = self._start
        self._skip = 0  # bytes of a segment that goes on, here or in the next fragment
        self._blank_skip = False
        self._whole = False  # all of the fragment is here
        self._after: State = self._start  # the state behind what is skipped
        self._beginnings: tuple[tuple[bytes | tuple[bytes, ...], State], ...] = (
            (SOI, self._marker),
            (SOC, self._marker_2000),
            (BOXED, self._box),
            (JXL, self._opaque),
        )
        self._tile: tuple[int, int] | None = None  # JPEG 2000: where a tile part began, its length
        self._at = 0
        self._stream = 0  # bytes of the frame's stream so far
        self.undo: list[tuple[int, bytes]] = []  # place in the value, and what stood there
        self._blanked = 0

    @property
    def held(self) -> bytes:
        """Return what was fed and is not decided yet, as it came."""
        return self.as_sent(self._passed, bytes(self._buffer))

    def feed(self, chunk: bytes | bytearray | memoryview) -> bytes:
        """Take bytes; return those that are decided, as they are to be stored."""
        self._buffer += chunk
        self._at = 0
        while self._step():
            pass
        decided = bytes(self._buffer[: self._at])
        del self._buffer[: self._at]
        self._passed += self._at
        return decided

    def end(self) -> bytes:
        """Return the rest; NotFrames where it is no whole value."""
        if self._buffer or self._left:
            raise NotFrames("a fragment is cut")
        return b""

    def as_sent(self, offset: int, part: bytes) -> bytes:
        """Put back what was blanked in a part of the value that begins at `offset`."""
        whole = bytearray(part)
        for place, original in self.undo:
            start = max(place, offset)
            stop = min(place + len(original), offset + len(part))
            if start < stop:
                whole[start - offset : stop - offset] = original[start - place : stop - place]
        return bytes(whole)

    def _step(self) -> bool:
        """Decide about one thing; False where more is needed first."""
        if self._left == 0:
            return self._item()
        here = min(self._left, len(self._buffer) - self._at)
        self._whole = here == self._left
        if self._is_table:
            return self._table()
        taken = self._state(self._at, self._at + here)
        if taken == 0 and self._whole:
            raise NotFrames("a segment is cut")
        self._at += taken
        self._left -= taken
        self._stream += taken
        return taken > 0

    def _item(self) -> bool:
        if len(self._buffer) - self._at < SHORT:
            return False
        group, number, length = _item(self._buffer, self._at)
        tag = group << 16 | number
        if tag == SEQUENCE_END:
            self._at = len(self._buffer)
            return False
        if tag != ITEM or length == UNDEFINED:
            raise NotFrames("it is not made of items")
        if length and not self._is_table and not self._begins(length):
            return False
        self._at += SHORT
        self._left = length
        if self._is_table and not length:
            self._is_table = False
        return True

    def _begins(self, length: int) -> bool:
        """See whether a fragment begins a frame, whatever the one before was in the midst of."""
        wanted = min(length, 8)
        first = bytes(self._buffer[self._at + SHORT : self._at + SHORT + wanted])
        if len(first) < wanted:
            return False
        if first.startswith((SOI, SOC, *BOXED)) or self._rle:
            self._state, self._skip = self._start, 0
        return True

    def _table(self) -> bool:
        """Check the offsets of frames: they begin at 0 and go up, as no text does."""
        if self._left > TABLE_AT_MOST:
            raise NotFrames("its offset table is too long")
        if not self._whole:
            return False
        raw = bytes(self._buffer[self._at : self._at + self._left])
        offsets = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]
        if len(raw) % 4 or offsets[0] or any(one >= other for one, other in pairwise(offsets)):
            raise NotFrames("its offset table is none")
        self._at += self._left
        self._left, self._is_table = 0, False
        return True

    # Each state looks at bytes [at, end) of the fragment and returns how many it has done with.

    def _start(self, at: int, end: int) -> int:
        if end - at < min(self._left, 64 if self._rle else 12):
            return 0
        head = bytes(self._buffer[at : min(end, at + 12)])
        self._tile, self._stream = None, 0
        if self._rle:
            return self._rle_header(at, end)
        if not self._marked:
            return self._opaque(at, end)
        for begin, state in self._beginnings:
            if head.startswith(begin):
                self._state = state
                return 2 if begin in (SOI, SOC) else state(at, end)
        if not head.strip(b"\0\xff"):
            return end - at  # padding
        raise NotFrames("a frame begins as none of its transfer syntax does")

    def _opaque(self, at: int, end: int) -> int:
        """Pass what has no room for text but in the picture itself."""
        return end - at

    def _rle_header(self, at: int, end: int) -> int:
        """Check where the segments are said to be (PS3.5 G.5); what is unused is nought."""
        numbers = [
            int.from_bytes(self._buffer[at + 4 * n : at + 4 * n + 4], "little") for n in range(16)
        ]
        count = numbers[0]
        used = numbers[1 : count + 1]
        fits = self._left >= HEADER and 1 <= count <= SEGMENTS
        if not fits or used[0] != HEADER or sorted([*used, self._left]) != [*used, self._left]:
            raise NotFrames("an RLE header is none")
        self._blank(at + 4 * (count + 1), at + 64)
        self._state = self._opaque
        if self._samples:
            self._segments = Segments(used, self._left, self._samples, self._layout)
            self._state = self._rle_segment
        return min(64, end - at)

    def _rle_segment(self, at: int, end: int) -> int:
        assert self._segments is not None
        try:
            taken, beside = self._segments.look(bytes(self._buffer[at:end]), self._stream)
        except ValueError as fault:
            raise NotFrames(str(fault)) from None
        if not self._segments.sound:
            raise Drawn("something is drawn beside the samples")
        if beside is not None:
            self._blank(at + beside.start, at + beside.stop)
        return taken

    def _marker(self, at: int, end: int) -> int:
        """JPEG and JPEG-LS: a marker between or before scans."""
        head = self._buffer[at : min(end, at + 4)]
        if len(head) < MARKER:
            return 0 if not self._whole else self._go_on(len(head), 1)
        if head[0] != PREFIX:
            raise NotFrames("a segment does not begin with a marker")
        code = head[1]
        if code == PREFIX:  # a fill byte
            return 1
        if code == EOI:
            self._state = self._tail
            return 2
        if code in ALONE:
            return 2
        following = self._scan if code == SOS else self._marker
        if code not in FORMS:
            return self._segment(at, end, following, named=True, comment=code == COMMENT)
        stop = at + MARKER + int.from_bytes(self._buffer[at + 2 : at + 4])
        whole = at + MARKED_LENGTH <= stop <= end
        if whole and not FORMS[code](bytes(self._buffer[at + MARKED_LENGTH : stop])):
            raise NotFrames("a table of it is longer than it says")
        return self._segment(at, end, following, named=False, comment=False)

    def _segment(
        self,
        at: int,
        end: int,
        following: State,
        *,
        named: bool,
        comment: bool,
    ) -> int:
        if end - at < MARKED_LENGTH:
            return 0
        length = 2 + int.from_bytes(self._buffer[at + 2 : at + 4])
        if length < MARKED_LENGTH:
            raise NotFrames("a segment has no length")
        if end - at < length and not self._whole:
            return 0
        stop = min(end, at + length)
        if named:
            needed = MADE_BY if comment else NEEDED
            payload = bytes(self._buffer[at + 4 : stop])
            if stop - at < length or needed.fullmatch(payload) is None:
                keep = 2 if self._buffer[at + 1] == COMMENT_2000 else 0  # in which charset it is
                self._blank(at + 4 + keep, stop)
        self._state = following
        if stop - at < length:
            self._go_on(0, length - (stop - at), blank=named)
        return stop - at

    def _go_on(self, taken: int, skip: int, *, blank: bool = False) -> int:
        """Let a segment go on in the next fragment."""
        self._after, self._state = self._state, self._skipping
        self._skip, self._blank_skip = skip, blank
        return taken

    def _skipping(self, at: int, end: int) -> int:
        taken = min(self._skip, end - at)
        if self._blank_skip:
            self._blank(at, at + taken)
        self._skip -= taken
        if self._skip == 0:
            self._state = self._after
        return taken

    def _scan(self, at: int, end: int) -> int:
        """Entropy-coded data, up to a marker that is none of it."""
        found = IN_SCAN.search(self._buffer, at, end)
        if found is None:
            cut = not self._whole and self._buffer[end - 1] == PREFIX
            return end - at - cut
        self._state = self._marker
        return found.start() - at or self._marker(at, end)

    def _marker_2000(self, at: int, end: int) -> int:
        """JPEG 2000: a marker of the main header or of a tile part's."""
        head = self._buffer[at : min(end, at + 12)]
        if len(head) < MARKER:
            return 0
        if head[0] != PREFIX:
            raise NotFrames("a segment does not begin with a marker")
        code = head[1]
        if code == EOC:
            self._state = self._tail
            return 2
        if code in ALONE_2000:
            return 2
        if code == SOD:
            return self._tile_data()
        if code == SOT:
            if len(head) < TILE_PART:
                return 0
            self._tile = self._stream, int.from_bytes(head[6:10])
        named, comment = code not in self._read_2000, code == COMMENT_2000
        return self._segment(at, end, self._marker_2000, named=named, comment=comment)

    def _tile_data(self) -> int:
        if self._tile is None:
            raise NotFrames("a tile's data have no tile")
        began, length = self._tile
        if length == 0:  # the last tile part: up to the end of the stream
            self._state = self._last_tile
            return 2
        rest = began + length - self._stream - 2
        if rest < 0:
            raise NotFrames("a tile part is shorter than its header")
        self._state = self._marker_2000
        if rest:
            self._go_on(0, rest)
        return 2

    def _last_tile(self, at: int, end: int) -> int:
        found = END_OF_STREAM.search(self._buffer, at, end)
        if found is None:
            return end - at - (not self._whole and self._buffer[end - 1] == PREFIX)
        self._state = self._marker_2000
        return found.start() - at or self._marker_2000(at, end)

    def _box(self, at: int, end: int) -> int:
        """JP2 and JPEG XL files: a box (ISO 15444-1 I.4)."""
        if end - at < min(BOX, self._left):
            return 0
        head = bytes(self._buffer[at : min(end, at + BOX)])
        if len(head) < SHORT and not head.strip(b"\0"):
            return end - at
        size, kind, length = SHORT, head[4:8], int.from_bytes(head[:4])
        if length == 1:
            size, length = BOX, int.from_bytes(head[8:])
        length = length or self._left
        if length < size:
            raise NotFrames("a box has no length")
        if kind == b"jp2c":
            self._state = self._start
        elif kind not in CONTAINERS and length > size:
            if length <= SETTINGS_AT_MOST and end - at < min(length, self._left):
                return 0
            made = SETTINGS.fullmatch(bytes(self._buffer[at + size : min(end, at + length)]))
            self._go_on(0, length - size, blank=not (made or kind in PICTURE_BOXES))
        return size

    def _tail(self, at: int, end: int) -> int:
        """Make padding of what follows the end of a frame."""
        if self._buffer[at:end].strip(b"\0\xff"):
            self._blank(at, end)
        return end - at

    def _blank(self, start: int, stop: int) -> None:
        original = bytes(self._buffer[start:stop])
        if not original.strip(b"\0"):
            return
        self._blanked += len(original)
        if self._blanked > BLANKED_AT_MOST:
            raise NotFrames("much stands beside its frames")
        self.undo.append((self._passed + start, original))
        self._buffer[start:stop] = bytes(stop - start)


def blanked(
    value: bytes, transfer_syntax_uid: str, samples: int = 0, layout: Layout | None = None
) -> bytes:
    """Return a whole value of encapsulated Pixel Data without what stands beside its frames."""
    frames = Frames(transfer_syntax_uid, samples, layout)
    return frames.feed(value) + frames.end()
