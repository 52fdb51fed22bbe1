"""Bytes to text, also where files do not say in which charset they were written, or lie."""

import re
from functools import lru_cache

from pydicom.charset import decode_bytes, python_encoding

ESCAPE = 0x1B
PADDING = b"\0 "
DELIMITERS = {0x5C, 0x5E, 0x3D, 0x0A, 0x0D, 0x09, 0x0C}  # PS3.5 6.1.2.5.3: they reset to the first
# Of Europe's Latin letters: what else can be in them, where a device lies, is told by its form.
LATIN = frozenset({"iso8859", "latin_1", "iso8859_2", "iso8859_3", "iso8859_4", "iso_ir_148"})
# What an escape sequence can call up, whether or not (0008,0005) announces it (PS3.3 C.12.1.1.2).
EXTENSIONS = ("iso8859", "iso2022_jp", "iso2022_jp_2", "euc_kr", "iso_ir_58")
# Escape sequences Python's codecs leave in the text (ISO 2022 IR 58 always).
CALLED = re.compile(r"\x1b[$()*+,\-./]{1,2}[0-9A-Z@]")
# GB 2312 rows 16-87, first and second level, and its punctuation.
HANZI = re.compile(rb"[\xa1-\xa9\xb0-\xf7][\xa1-\xfe]")
EVERYDAY = re.compile(rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]")  # punctuation, and the first level
CHINESE = frozenset({"gb18030", "gbk", "gb2312", "iso_ir_58"})
HALF = 0.5
# Of two bytes in UTF-8, and in nobody's words: 头颅 and 平扫 in GBK read so. Pinyin, Romanian and
# Vietnamese letters are none of them.
ODD_LETTERS = re.compile(
    "[\u0080-\u00a0\u00ad\u0180-\u019f\u01a2-\u01ae\u01b1-\u01cc\u01dd-\u01f7\u01fa-\u0217"
    "\u021c-\u0377]"
)
PAIR = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")


@lru_cache(maxsize=256)
def encodings(declared: tuple[str, ...]) -> tuple[str, ...]:
    """Turn the values of (0008,0005) into Python's names; unknown ones count as unsaid."""
    found = [_encoding(term.strip()) for term in declared]
    return tuple(name for name in found if name) or ("iso8859",)


def _encoding(term: str) -> str | None:
    if term in python_encoding:
        return python_encoding[term] or "iso8859"
    # `ISO-IR 192`, `ISO IR 100`, `ISO_2022_IR_58`: the usual misspellings.
    numbers = re.findall(r"\d+", term)
    spelt = f"ISO 2022 IR {numbers[-1]}" if "2022" in numbers[:1] else f"ISO_IR {numbers[-1:]}"
    for candidate in (spelt, f"ISO_IR {numbers[-1]}" if numbers else "", term.upper()):
        if candidate in python_encoding:
            return python_encoding[candidate]
    return None


def decode(raw: bytes, declared: tuple[str, ...]) -> str:
    """Read a text value in the charset it is most likely in; `declared` are Python's names."""
    value = raw.rstrip(PADDING)
    if value.isascii() and ESCAPE not in value:
        return value.decode("ascii")
    return readings(value, declared)[0]


def readings(value: bytes, declared: tuple[str, ...]) -> list[str]:
    """Return every sensible reading, the likeliest first.

    GBK declared as ISO_IR 100, or as nothing, is the commonest lie of Chinese devices; UTF-8
    declared as nothing the commonest of all others.
    """
    if ESCAPE in value:
        both = tuple(dict.fromkeys((*declared, *EXTENSIONS)))
        return [CALLED.sub("", decode_bytes(value, list(both), DELIMITERS))]
    silent = declared[0] in LATIN
    order = ["utf-8", "gb18030"] if silent else [declared[0], "utf-8", "gb18030"]
    if silent and declared[0] not in ("iso8859", "latin_1"):
        order.append(declared[0])
    found, unlikely = [], []
    for name in order:
        try:
            text = value.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
        if name == "gb18030" and silent and not _looks_chinese(value):
            unlikely = [text]  # yet so it reads where a neighbour shows that it is
            continue
        found.append(text)
    found += [value.decode("latin-1"), *unlikely]
    return _likeliest_first(value, declared[0], list(dict.fromkeys(found)))


def _likeliest_first(value: bytes, declared: str, found: list[str]) -> list[str]:
    """Put Chinese before what only happens to decode: GBK as UTF-8, UTF-8 as GBK."""
    first = found[0]
    if declared.lower() in CHINESE:
        better = [text for text in found[1:] if _common(text) > max(_common(first), HALF)]
        better = better if _decoded(value, "utf-8") in better else []
    else:
        odd = ODD_LETTERS.search(first) is not None and _looks_chinese(value)
        better = [text for text in found[1:] if odd and text == _decoded(value, "gb18030")]
    return list(dict.fromkeys((*better[:1], *found)))


def _decoded(value: bytes, encoding: str) -> str | None:
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return None


def _common(text: str) -> float:
    """Return how much of a text that is not ASCII is in the everyday half of GB 2312."""
    far = [char for char in text if not char.isascii()]
    near = sum(EVERYDAY.fullmatch(char.encode("gb18030", "replace")) is not None for char in far)
    return near / len(far) if far else 0.0


def _looks_chinese(value: bytes) -> bool:
    """Tell GBK from Latin-1: accented letters seldom come in pairs, characters always do."""
    pairs = PAIR.findall(value)
    high = sum(byte >= 0x80 for byte in value)  # noqa: PLR2004 - the upper half
    common = sum(HANZI.fullmatch(pair) is not None for pair in pairs)
    return bool(pairs) and common * 2 >= len(pairs) and common * 2 * 2 >= high
