"""Elements as they were sent: raw until something needs them decoded."""

from collections.abc import Sequence

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr_element
from pydicom.tag import BaseTag
from pydicom.uid import UID

from gateway.deid import charsets

DEEPEST = 64  # levels of sequences; pydicom raises RecursionError at about 249
CHARSET = 0x00080005
ENCAPSULATED_TEXT = frozenset({"ST", "LT", "UT", "UR"})  # one value, whatever backslashes it has

# PS3.5 6.2: the width of one value.
BYTES = {
    "US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4,
    "OW": 2, "OF": 4, "OD": 8, "OL": 4, "OV": 8,
}  # fmt: skip
CHARSETS = frozenset(python_encoding)  # the defined terms of (0008,0005)

Held = DataElement | RawDataElement


class TooDeep(Exception):
    """Sequences lie deeper in each other than any image needs."""


class Unreadable(Exception):
    """An element cannot be read: `tag` says which."""

    def __init__(self, tag: int) -> None:
        super().__init__(place(tag))
        self.tag = tag


def place(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise TooDeep


def tags(dataset: Dataset) -> list[int]:
    return sorted(dataset._dict, key=int)  # noqa: SLF001 - the keys as they are, nothing decoded


def held(dataset: Dataset, tag: int) -> Held:
    return dataset._dict[tag]  # type: ignore[index] # noqa: SLF001 - raw, not decoded


def present(dataset: Dataset, tag: int) -> bool:
    return BaseTag(tag) in dataset._dict  # noqa: SLF001 - as they are


def put(dataset: Dataset, tag: int, vr: str, value: object) -> None:
    dataset._dict[BaseTag(tag)] = DataElement(  # noqa: SLF001 - replaces without decoding the old
        BaseTag(tag), vr, value, validation_mode=config.IGNORE
    )


def drop(dataset: Dataset, tag: int) -> None:
    dataset._dict.pop(BaseTag(tag), None)  # noqa: SLF001 - removes without decoding it


def likely_vr(item: Held) -> str | None:
    """Return the VR to look inside by: what was sent, or what the dictionary knows of it.

    In implicit VR a raw element has none, and a sequence a device did not know is UN: what is a
    sequence is found by the dictionary and by structure, never by the VR alone.
    """
    if item.VR not in (None, "", "UN"):
        return item.VR
    tag = item.tag
    if dictionary_has_tag(tag):
        return dictionary_VR(tag)
    if isinstance(item, RawDataElement) and isinstance(item.value, bytes):
        return "SQ" if item.value.startswith(b"\xfe\xff\x00\xe0") else item.VR
    return item.VR


def items(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    """Decode a sequence; Unreadable where its bytes are none."""
    try:
        value = dataset[tag].value
    except RecursionError:
        raise TooDeep from None
    except Exception:  # noqa: BLE001 - pydicom raises anything, and its text holds values
        raise Unreadable(tag) from None
    return (
        [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []
    )


def spell_vrs(dataset: Dataset) -> None:
    """Give elements a VR where implicit VR came under an explicit syntax, as some send it."""
    unspelt = [tag for tag in tags(dataset) if held(dataset, tag).VR is None]
    for tag in unspelt:
        try:
            correct_ambiguous_vr_element(dataset[tag], dataset, is_little_endian=True)
        except Exception:  # noqa: BLE001 - as above
            raise Unreadable(tag) from None


def charset_of(dataset: Dataset, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """Return the encodings in force: an item may declare its own (PS3.3 C.12.1.1.2)."""
    item = dataset._dict.get(BaseTag(CHARSET))  # noqa: SLF001 - raw, not decoded
    if item is None:
        return inherited
    terms = as_text(item, ("iso8859",)).split("\\")
    return charsets.encodings(tuple(terms)) if any(terms) else inherited


def as_text(item: Held, encodings: tuple[str, ...]) -> str:
    """Return a text element's value as one string, its values joined as DICOM joins them."""
    value = item.value
    if isinstance(value, bytes | bytearray):
        return charsets.decode(bytes(value), encodings)
    return _joined(value)


def spoken(dataset: Dataset, keyword: str) -> str:
    """Read a text by its keyword, and leave it as it was sent.

    pydicom decodes in place, and by the charset that is declared: in a dataset of bytes alone by
    none, so that names in it would be found no more.
    """
    tag = tag_for_keyword(keyword)
    item = None if tag is None else dataset._dict.get(BaseTag(tag))  # noqa: SLF001 - raw
    if item is None or likely_vr(item) == "SQ":
        return ""
    return as_text(item, charset_of(dataset, ("iso8859",)))


def readings(item: Held, encodings: tuple[str, ...]) -> list[str]:
    """Return every sensible reading of a text element."""
    value = item.value
    if isinstance(value, bytes | bytearray):
        raw = bytes(value).rstrip(charsets.PADDING)
        if raw.isascii() and charsets.ESCAPE not in raw:
            return [raw.decode("ascii")]
        return charsets.readings(raw, encodings)
    return [_joined(value)]


def _joined(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str | UID):
        return str(value)
    if isinstance(value, Sequence):
        return "\\".join(map(str, value))
    return str(value)


def values(item: Held, encodings: tuple[str, ...], vr: str) -> list[str]:
    """Return the values of a text element."""
    text = as_text(item, encodings)
    if not text:
        return []
    return [text] if vr in ENCAPSULATED_TEXT else text.split("\\")


def check_length(item: Held, vr: str) -> None:
    """Refuse bytes that are no whole number of values: a damaged length swallows what follows."""
    if isinstance(item.value, bytes | bytearray) and len(item.value) % BYTES.get(vr, 1):
        raise Unreadable(item.tag)


def is_plain(item: Held) -> bool:
    """Tell an element whose bytes are ASCII and may stay as they are, whatever the charset."""
    value = item.value
    return isinstance(value, bytes) and value.isascii() and charsets.ESCAPE not in value
