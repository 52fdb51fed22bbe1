"""Identities beside the picture: comments in compressed frames, and spare bits."""

import random
from struct import pack

from pydicom.dataset import Dataset

from tests.planting.files import Real
from tests.planting.places import Planter

SOI, SOC = b"\xff\xd8", b"\xff\x4f\xff\x51"


def plant_pixels(dataset: Dataset, real: Real, planter: Planter, dice: random.Random) -> None:
    """Plant in every frame that can carry a comment, or now and then in spare bits."""
    if "PixelData" not in dataset:
        return
    item = dataset.get_item("PixelData")
    if not isinstance(item.value, bytes):
        return
    if item.length == 0xFFFFFFFF:
        _in_fragments(dataset, item, planter)
    elif dice.random() < 0.1 and not real.syntax.endswith("1.2.2"):
        _in_spare_bits(dataset, item, planter)


def _in_fragments(dataset: Dataset, item, planter: Planter) -> None:
    value, out, at = item.value, [], 0
    while at + 8 <= len(value):
        length = int.from_bytes(value[at + 4 : at + 8], "little")
        body = value[at + 8 : at + 8 + length]
        out.append(_planted(body, planter) if out else b"")  # the offset table would lie
        at += 8 + length
    value = b"".join(pack("<HHI", 0xFFFE, 0xE000, len(body)) + body for body in out)
    dataset._dict[item.tag] = item._replace(value=value)


def _planted(body: bytes, planter: Planter) -> bytes:
    text = planter.take("frame").encode("utf-8")
    if body.startswith(SOI):
        segments = b"".join(
            bytes((0xFF, marker)) + pack(">H", 2 + len(text)) + text
            for marker in (0xFE, 0xE1, 0xED)
        )
        return _even(
            body[:2] + segments + body[2:] + text * body.rstrip(b"\0").endswith(b"\xff\xd9")
        )
    if body.startswith(SOC):
        at = 4 + int.from_bytes(body[4:6])
        comment = b"\xff\x64" + pack(">H", 4 + len(text)) + b"\0\1" + text
        return _even(body[:at] + comment + body[at:])
    return body


def _even(body: bytes) -> bytes:
    return body + b"\0" * (len(body) % 2)


def _in_spare_bits(dataset: Dataset, item, planter: Planter) -> None:
    """Write a text into the top bits of 16-bit samples, four bits a sample."""
    if dataset.get("BitsAllocated") != 16 or dataset.get("BitsStored", 16) > 12:
        return
    raw = bytearray(item.value)
    for number, byte in enumerate(planter.take("spare bits").encode("utf-8")):
        for half, nibble in enumerate((byte >> 4, byte & 15)):
            place = 4 * number + 2 * half + 1
            if place < len(raw):
                raw[place] = raw[place] & 0x0F | nibble << 4
    dataset._dict[item.tag] = item._replace(value=bytes(raw))


def spare_text(raw: bytes) -> bytes:
    """Read back what the top bits of 16-bit samples hold."""
    nibbles = [byte >> 4 for byte in raw[1::2]]
    return bytes(a << 4 | b for a, b in zip(nibbles[::2], nibbles[1::2], strict=False))
