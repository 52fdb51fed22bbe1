"""Which marker segments a decoder reads, and how each is formed: what else one holds is no picture.

An allow-list: a decoder passes over a segment it does not know, and a viewer may show it.
"""

from collections.abc import Callable

SOS, LSE, COMMENT, COMMENT_2000 = 0xDA, 0xF8, 0xFE, 0x64
HUFFMAN, JPG, ARITHMETIC, SOF_55 = 0xC4, 0xC8, 0xCC, 0xF7  # JPG is reserved, SOF_55 is JPEG-LS's
QUANTISATION, LINES, RESTART = 0xDB, 0xDC, 0xDD
FRAMES = frozenset({*range(0xC0, 0xD0), SOF_55}) - {HUFFMAN, JPG, ARITHMETIC}
# ISO 15444-1 A.2, and CAP, PRF and CPF of its part 15.
READ_2000 = frozenset(
    {0x50, 0x51, 0x52, 0x53, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, 0x63,
     0x90, 0x91}
)  # fmt: skip
READ_IN_PART_2 = frozenset(range(0x70, 0x7A))
PART_2 = ("1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93")
ALONE_2000 = frozenset(range(0x30, 0x40))  # without a segment (ISO 15444-1 A.1.1)
# Of JPEG-LS: thresholds of one length; mapping tables; sizes beyond 16 bits.
PRESETS, TABLES, SIZES = (1, 11), frozenset({2, 3}), (4, 10)
CONDITIONED = frozenset({*range(4), *range(0x10, 0x14)})


def read_2000(transfer_syntax_uid: str) -> frozenset[int]:
    """Return the JPEG 2000 segments a decoder of that syntax reads."""
    return READ_2000 | READ_IN_PART_2 if transfer_syntax_uid in PART_2 else READ_2000


def _huffman(payload: bytes) -> bool:
    at = 0
    while at + 17 <= len(payload):
        at += 17 + sum(payload[at + 1 : at + 17])
    return at == len(payload)


def _quantisation(payload: bytes) -> bool:
    at = 0
    while at < len(payload):
        at += 1 + (128 if payload[at] >> 4 else 64)
    return at == len(payload)


def _frame(payload: bytes) -> bool:
    return len(payload) > 5 and len(payload) == 6 + 3 * payload[5]  # noqa: PLR2004 - B.2.2


def _scan(payload: bytes) -> bool:
    return bool(payload) and len(payload) == 4 + 2 * payload[0]


def _conditioning(payload: bytes) -> bool:
    return len(payload) % 2 == 0 and CONDITIONED.issuperset(payload[::2])


def _presets(payload: bytes) -> bool:
    kind, size = payload[0] if payload else 0, len(payload)
    return (kind, size) == PRESETS or kind in TABLES or (kind == SIZES[0] and size <= SIZES[1])


# ISO 10918-1 B.2 and 14495-1 C.2; the latter lets a number be of two to four bytes.
FORMS: dict[int, Callable[[bytes], bool]] = {
    **dict.fromkeys(FRAMES, _frame),
    HUFFMAN: _huffman,
    ARITHMETIC: _conditioning,
    QUANTISATION: _quantisation,
    LINES: lambda payload: 2 <= len(payload) <= 4,  # noqa: PLR2004
    RESTART: lambda payload: 2 <= len(payload) <= 4,  # noqa: PLR2004
    SOS: _scan,
    LSE: _presets,
}
