"""Text as the bytes a device writes: in the charset it declares, or in another."""

import random

# What (0008,0005) says, and what the bytes are.
SPELLINGS = (
    ("GB18030", "gb18030"),
    ("GBK", "gbk"),
    ("ISO_IR 192", "utf-8"),
    ("ISO_IR 100", "gbk"),
    ("", "gbk"),
    ("", "utf-8"),
    ("ISO_IR 100", "utf-8"),
    ("\\ISO 2022 IR 58", "ir58"),
    ("ISO 2022 IR 6\\ISO 2022 IR 58", "ir58"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "ir87"),
    ("GB2312", "gbk"),
    ("ISO_IR 101", "gb18030"),
)
LATIN = (("ISO_IR 100", "latin-1"), ("ISO_IR 101", "iso8859-2"), ("ISO_IR 192", "utf-8"))


def choose(dice: random.Random, name: str) -> tuple[str, str]:
    """Choose a charset and what is written in its stead, one that has all of the name."""
    return dice.choice([one for one in SPELLINGS + LATIN if keeps(name, one[1])])


def keeps(text: str, codec: str) -> bool:
    codec = {"ir58": "gb2312", "ir87": "iso2022_jp"}.get(codec, codec)
    return text.encode(codec, "ignore").decode(codec) == text


def spell(text: str, codec: str) -> bytes:
    """Return the bytes; what the charset lacks is left out, as devices do."""
    if codec == "ir58":  # G1 holds GB 2312 until the next value (PS3.5 annex K)
        raw = text.encode("gb2312", "ignore")
        return raw if raw.isascii() else b"\x1b$)A" + raw
    return text.encode("iso2022_jp" if codec == "ir87" else codec, "ignore")
