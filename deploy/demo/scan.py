"""Looks for planted texts and for runs of pixel data in bytes, however they were dressed."""

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha1, sha256

import numpy as np
from numpy.typing import NDArray

CODECS = (
    "utf-8",
    "gb18030",
    "utf-16-le",
    "utf-16-be",
    "utf-32-le",
    "utf-32-be",
    "big5",
    "shift_jis",
)
KEY = 8  # bytes of a text or of a pixel block that the tables are built on
SHORTEST_RUN = 32  # bytes: sixteen pixels of a CT in a row
FEWEST_VALUES = 5  # a block with fewer different bytes is background, not an image
DRESSED = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{16,}")  # by itself: `0.1.0-6162...` is no base64
COMPRESSED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b")
HIGHEST_HU = 4096
PLACES = 8  # of one block in one image
CHUNK = 1 << 20  # offsets looked at together
INFLATED_AT_MOST = 8 << 20
Blocks = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a scan found: texts by the text itself, pixel runs by the image they came from."""

    scanned_bytes: int
    texts: Mapping[str, str] = field(default_factory=dict)  # text -> how it was written
    pixel_runs: Mapping[str, int] = field(default_factory=dict)  # image -> longest run in bytes

    @property
    def clean(self) -> bool:
        return not self.texts and not self.pixel_runs


class Scanner:
    """Built once from what was planted; scans some MB in a second or two."""

    def __init__(self, texts: Iterable[str], images: Mapping[str, Sequence[bytes]]) -> None:
        self._needles: dict[int, list[tuple[bytes, str, str]]] = {}
        for text in dict.fromkeys(texts):
            for written, needle in dressings(text):
                self._needles.setdefault(_key(needle), []).append((needle, text, written))
        self._needle_table = _Table(np.fromiter(self._needles, np.uint64, len(self._needles)))
        self._images = [(name, form) for name, forms in images.items() for form in forms]
        keys, origins = _blocks_of([form for _, form in self._images])
        self._block_keys, self._block_origins = _first_of_each(keys, origins)
        self._block_table = _Table(self._block_keys)

    def scan(self, raw: bytes) -> Findings:
        """Return every planted text and every pixel run of at least 32 bytes."""
        texts: dict[str, str] = {}
        runs: dict[str, int] = {}
        for view in _views(raw):
            if len(view) < KEY:
                continue
            self._find_texts(view, texts)
            self._find_runs(view, runs)
        return Findings(len(raw), texts, runs)

    def scan_plainly(self, raw: bytes) -> Findings:
        """Return every planted text that stands there as it is: for much, and fast."""
        texts: dict[str, str] = {}
        self._find_texts(raw, texts)
        return Findings(len(raw), texts)

    def _find_texts(self, view: bytes, found: dict[str, str]) -> None:
        # Letters are compared without case: an upper-cased name is still the name.
        lowered = view.lower()
        for at, key in self._needle_table.hits(lowered):
            for needle, text, written in self._needles[key]:
                if lowered.startswith(needle, at):
                    found.setdefault(text, written)

    def _find_runs(self, view: bytes, found: dict[str, int]) -> None:
        covered = -1
        for at, key in self._block_table.hits(view):
            if at < covered:
                continue
            low = int(np.searchsorted(self._block_keys, np.uint64(key), "left"))
            high = int(np.searchsorted(self._block_keys, np.uint64(key), "right"))
            for which, offset in self._block_origins[low:high]:
                name, form = self._images[which]
                begin, end = _extent(view, at, form, int(offset))
                if end - begin >= SHORTEST_RUN:
                    found[name] = max(found.get(name, 0), end - begin)
                    covered = max(covered, end)


def dressings(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield how a text may be written, lower-cased; base64, hex and zlib are undone instead."""
    seen: set[bytes] = set()
    for codec in CODECS:
        try:
            needle = text.encode(codec)
        except UnicodeEncodeError:
            continue
        if len(needle) >= KEY and needle not in seen:
            seen.add(needle)
            yield codec, needle.lower()
    if not text.isascii():
        yield "escaped", text.encode("unicode_escape").lower()
        yield "gb2312, 7 bit", bytes(byte & 0x7F for byte in text.encode("gb18030")).lower()
    # An unsalted digest of an identifier is the identifier, to whoever can list them.
    for digest in (sha256, sha1, md5):
        yield digest.__name__, digest(text.encode()).digest().lower()


class _Table:
    """Tells fast which of many 8-byte windows are in a set: three bytes first, then all."""

    def __init__(self, keys: Blocks) -> None:
        self._keys = np.sort(keys)
        self._first = np.zeros(1 << 24, bool)
        self._first[(self._keys & np.uint64(0xFFFFFF)).astype(np.int64)] = True

    def hits(self, view: bytes) -> Iterator[tuple[int, int]]:
        """Yield (offset, key) wherever the 8 bytes at an offset are in the set."""
        if not len(self._keys):
            return
        raw = np.frombuffer(view, np.uint8)
        for begin in range(0, max(len(raw) - KEY + 1, 0), CHUNK):
            part = raw[begin : begin + CHUNK + KEY - 1]
            low, middle, high = (part[i : len(part) - KEY + 1 + i] for i in range(3))
            first = low.astype(np.uint32)
            first |= middle.astype(np.uint32) << 8
            first |= high.astype(np.uint32) << 16
            maybe = np.flatnonzero(self._first[first])
            eight = part[maybe[:, None] + np.arange(KEY)].view("<u8")[:, 0]
            where = np.minimum(np.searchsorted(self._keys, eight), len(self._keys) - 1)
            found = self._keys[where] == eight
            yield from zip((maybe[found] + begin).tolist(), eight[found].tolist(), strict=True)


def _key(needle: bytes) -> int:
    return int.from_bytes(needle[:KEY], "little")


def tellable(form: bytes) -> NDArray[np.int64]:
    """Return the offsets of the aligned blocks that are more than background."""
    blocks = np.frombuffer(form[: len(form) // KEY * KEY], np.uint8).reshape(-1, KEY)
    ordered = np.sort(blocks, axis=1)
    values = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)
    return np.flatnonzero(values >= FEWEST_VALUES) * KEY


def _blocks_of(forms: Sequence[bytes]) -> tuple[Blocks, NDArray[np.int64]]:
    """Return the telling aligned blocks of every image, and (image, offset) of each."""
    keys: list[Blocks] = [np.zeros(0, np.uint64)]
    origins: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    for which, form in enumerate(forms):
        kept = tellable(form)
        keys.append(np.frombuffer(form[: len(form) // KEY * KEY], "<u8")[kept // KEY])
        origins.append(np.stack([np.full(len(kept), which), kept], axis=1))
    return np.concatenate(keys), np.concatenate(origins)


def _first_of_each(keys: Blocks, origins: NDArray[np.int64]) -> tuple[Blocks, NDArray[np.int64]]:
    """Order blocks by key; keep the first few places of each in each image.

    Test patterns repeat a block a thousand times, and would hide the other images that hold it.
    """
    order = np.lexsort((np.arange(len(keys)), origins[:, 0], keys))
    keys, origins = keys[order], origins[order]
    place = np.arange(len(keys))
    begins = np.ones(len(keys), bool)
    begins[1:] = (keys[1:] != keys[:-1]) | (origins[1:, 0] != origins[:-1, 0])
    rank = place - np.maximum.accumulate(np.where(begins, place, 0))
    kept = rank < PLACES
    return keys[kept], origins[kept]


def _extent(view: bytes, at: int, form: bytes, offset: int) -> tuple[int, int]:
    """Extend a common block in both directions; return where the run begins and ends in view."""
    begin, end = at, at + KEY
    while (
        begin > 0
        and offset - (at - begin) > 0
        and view[begin - 1] == form[offset - (at - begin) - 1]
    ):
        begin -= 1
    while (
        end < len(view) and offset + end - at < len(form) and view[end] == form[offset + end - at]
    ):
        end += 1
    return begin, end


def _views(raw: bytes) -> Iterator[bytes]:
    """Yield the bytes themselves, then whatever base64, hexadecimal and zlib hide in them."""
    yield raw
    undressed: list[bytes] = []
    for run in HEXADECIMAL.finditer(raw):
        undressed += (
            binascii.unhexlify(digits[: len(digits) // 2 * 2]) for digits in (run[0], run[0][1:])
        )
    for run in DRESSED.finditer(raw):
        undressed.extend(_undressed(run[0]))
    undressed.extend(_inflated(raw))
    if undressed:
        yield bytes(KEY).join(undressed)
    yield from _as_stored_values(raw)


def _as_stored_values(raw: bytes) -> Iterator[bytes]:
    """Yield what 32-bit floats would be as stored CT values, taken as they are and as HU."""
    for shift in range(4):
        values = np.frombuffer(raw, "<f4", count=max(len(raw) - shift, 0) // 4, offset=shift)
        plausible = np.where(np.abs(values) < HIGHEST_HU, values, 0)
        for intercept in (0, -1024):
            yield np.rint(plausible - intercept).astype("<i2").tobytes()


def _undressed(run: bytes) -> Iterator[bytes]:
    plain = run.translate(bytes.maketrans(b"-_", b"+/"))
    for shift in range(4):
        part = plain[shift:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        yield base64.b64decode(part + b"=" * (-len(part) % 4))


def _inflated(raw: bytes) -> Iterator[bytes]:
    for mark in COMPRESSED:
        at = raw.find(mark)
        while at >= 0:
            opener = zlib.decompressobj(wbits=47)  # zlib or gzip, by its header
            try:
                content = opener.decompress(memoryview(raw)[at:], INFLATED_AT_MOST)
            except zlib.error:
                content = b""
            if len(content) >= KEY:
                yield content
            at = raw.find(mark, at + 1)
