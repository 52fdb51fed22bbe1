"""The second look: nothing that identifies may be left in what is about to be stored."""

from collections.abc import Sequence
from struct import pack

from pydicom.dataset import Dataset

from gateway.deid import elements
from gateway.deid.actions import PIXELS
from gateway.deid.names import Known
from gateway.deid.rules import DATES, TEXT, WRITTEN_NUMBERS

# Shifted, remapped or checked value by value; a shifted date may fall on somebody's birthday.
UNREAD = DATES | WRITTEN_NUMBERS | {"UI"}
LOOKED_AT = TEXT | {"AE", "CS", "PN", "AS"}
FORMS = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
# Written by this engine itself, or one of a few words of the standard's own.
OURS = frozenset(
    {
        0x00080005, 0x00080050, 0x00100010, 0x00100020, 0x00120063, 0x00120064,
        0x0040A010, 0x0040A040, 0x0040A050,
    }
)  # fmt: skip


def leftover(
    dataset: Dataset, known: Known, depth: int = 0, *, private: bool = False
) -> str | None:
    """Return the place of the first thing that should not be there, never the thing.

    `private`: the profile may keep private attributes, which are then looked through too.
    """
    elements.check_depth(depth)
    for tag in elements.tags(dataset):
        here = elements.place(tag)
        if tag >> 16 & 1 and not private:
            return here
        if tag in OURS or tag in PIXELS:
            continue
        item = elements.held(dataset, tag)
        vr = elements.likely_vr(item)
        if vr == "SQ":
            for inner in elements.items(dataset, tag):
                if found := leftover(inner, known, depth + 1, private=private):
                    return f"{here}>{found}"
        elif holds(item, vr, known):
            return here
    return None


def holds(item: elements.Held, vr: str | None, known: Known) -> bool:
    if vr in LOOKED_AT:
        # Everything kept is ASCII bytes or text we wrote ourselves.
        return any(known.found_in(reading) for reading in elements.readings(item, ("utf-8",)))
    if vr in UNREAD or known.raw is None:
        return False
    value = item.value
    raw = value if isinstance(value, bytes | bytearray) else _spelt(value, vr)
    return known.raw.search(raw) is not None


def _spelt(value: object, vr: str | None) -> bytes:
    """Return the bytes of numbers that were read while facts were gathered."""
    numbers = value if isinstance(value, Sequence) else [value]
    if vr not in FORMS or not all(isinstance(number, int | float) for number in numbers):
        return b""
    return pack(f"<{len(numbers)}{FORMS[vr]}", *numbers)
