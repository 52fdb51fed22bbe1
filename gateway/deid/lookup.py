"""Tables of numbers that must be what they say: a text in one does not fit its descriptor."""

from collections.abc import Iterable, Sequence
from struct import unpack

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from gateway.deid import elements

# A lookup table, and the descriptor that says how long it is (PS3.3 C.7.6.3.1.5, C.11.1).
DESCRIPTORS = {
    0x00281201: 0x00281101, 0x00281202: 0x00281102, 0x00281203: 0x00281103, 0x00281204: 0x00281104,
    0x00281408: 0x00281407, 0x00283006: 0x00283002,
}  # fmt: skip
SEGMENTED = frozenset({0x00281221, 0x00281222, 0x00281223, 0x00281224})
PROFILE = 0x00282000  # of the International Color Consortium
CHECKED = frozenset({*DESCRIPTORS, *SEGMENTED, PROFILE})
SEGMENT_TAKES = {0: 0, 1: 1, 2: 2}  # discrete: as many as it counts; linear; indirect
PHOTOMETRIC = 0x00280004
ASKED = CHECKED | frozenset({*DESCRIPTORS.values(), PHOTOMETRIC})  # all that the check reads
THREE = 6  # bytes of a descriptor: entries, first value mapped, bits of an entry
ALL_ENTRIES = 1 << 16  # what 0 means
SIGNED_AT, SIGNATURE = 36, b"acsp"  # of an ICC profile (ISO 15076-1, 7.2)


def check(dataset: Dataset) -> None:
    """Drop the tables of a dataset that are none; Unreadable where its pixels need them."""
    for tag in CHECKED:
        if elements.present(dataset, tag) and not _fits(dataset, tag):
            if tag != PROFILE and "PALETTE" in _text(dataset, PHOTOMETRIC):
                raise elements.Unreadable(tag)
            elements.drop(dataset, tag)


def _fits(dataset: Dataset, tag: int) -> bool:
    item = elements.held(dataset, tag)
    value = item.value
    if not value and value != 0:  # a reader of implicit VR asks the descriptor even then
        return tag not in DESCRIPTORS or elements.present(dataset, DESCRIPTORS[tag])
    if not isinstance(value, bytes):
        return tag != PROFILE  # numbers, read as such
    if tag == PROFILE:
        size = int.from_bytes(value[:4])
        return value[SIGNED_AT : SIGNED_AT + 4] == SIGNATURE and 0 <= len(value) - size <= 1
    if tag in SEGMENTED:
        return _is_segments(value, little=getattr(item, "is_little_endian", True))
    described = DESCRIPTORS[tag]
    if not elements.present(dataset, described):
        return False
    entries = _first(elements.held(dataset, described))
    # Eight bits an entry are written as bytes, or as words all the same.
    return entries is not None and len(value) in {entries + entries % 2, 2 * entries}


def _is_segments(value: bytes, *, little: bool) -> bool:
    """Tell segments, of words or of bytes, each as long as it says (PS3.3 C.7.9.2)."""
    words = unpack(f"{'<' if little else '>'}{len(value) // 2}H", value[: len(value) // 2 * 2])
    return any(_meet(numbers) for numbers in (words, value, value[:-1]))


def _meet(numbers: Sequence[int]) -> bool:
    at = 0
    while at + 1 < len(numbers):
        code, count = numbers[at], numbers[at + 1]
        if code not in SEGMENT_TAKES:
            return False
        at += 2 + (count if code == 0 else SEGMENT_TAKES[code])
    return at == len(numbers)


def _first(item: elements.Held) -> int | None:
    value = item.value
    if isinstance(value, bytes):
        if len(value) != THREE:
            return None
        found = int.from_bytes(
            value[:2], "little" if getattr(item, "is_little_endian", True) else "big"
        )
    else:
        numbers = list(value) if isinstance(value, Iterable) else []
        found = int(numbers[0]) & 0xFFFF if numbers else 0
    return found or ALL_ENTRIES


def _text(dataset: Dataset, tag: int) -> str:
    if BaseTag(tag) not in dataset._dict:  # noqa: SLF001 - raw
        return ""
    return elements.as_text(elements.held(dataset, tag), ("iso8859",))
