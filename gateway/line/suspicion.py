"""Which arrivals of classes that seldom show a name look written on: they are read first."""

import os
from pathlib import Path
from typing import Final

from pydicom.uid import UID

from gateway.deid.pixels import GREY_ONLY, STORAGE, Risk, RiskKind
from gateway.model import Lane
from gateway.store.part10 import HEAD_BYTES, parse_head
from gateway.store.sealed import SealedRecord
from gateway.vault.entry import Reason

WRITTEN_ON: Final = Risk("a line of text seems to stand in its pixels", RiskKind.UNSEEN)
SUSPECTED: Final = Reason(WRITTEN_ON.why, "(7FE0,0010)", "wait: it is being read")
GREY: Final = GREY_ONLY | {STORAGE + enhanced for enhanced in ("2.1", "4.1", "130")}
SMALLEST: Final = 128  # rows and columns: nobody writes into less
LARGEST_BYTES: Final = 64 << 20  # of the first frame
KEPT_BYTES: Final = 1 << 20  # a CT slice is half of it
SIGNED: Final = b"\x28\x00\x03\x01"  # (0028,0103), in little endian
BYTES: Final = (1, 2)


class Glance:
    """Looks at arrivals one after another, with one piece of memory for all of them."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def is_suspect(self, path: Path, record: SealedRecord) -> bool:
        """Glance at the first frame of a grey, native image that nobody looked at yet."""
        facts = record.facts
        rows, columns = facts.rows or 0, facts.columns or 0
        syntax = UID(facts.transfer_syntax_uid)
        if (
            record.lane is not Lane.EXPRESS
            or facts.sop_class_uid not in GREY
            or min(rows, columns) < SMALLEST
            or not syntax.is_little_endian
            or syntax.is_compressed
            or not record.header_bytes
        ):
            return False
        try:
            return self._is_written_on(path, record.header_bytes, rows, columns, facts.frames)
        except FileNotFoundError:
            return False  # superseded meanwhile: what came is glanced at

    def _is_written_on(
        self, path: Path, header_bytes: int, rows: int, columns: int, frames: int
    ) -> bool:
        """Read no header: how many bytes a value has, the length of all of them says."""
        import numpy as np  # whoever cannot read text does without

        from gateway.deid.pixel_glance import may_be_written_on

        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            at = parse_head(os.pread(descriptor, HEAD_BYTES, 0)).dataset
            header = os.pread(descriptor, header_bytes, at)
            size = os.fstat(descriptor).st_size - at - header_bytes
            one = rows * columns
            width = size // (one * max(1, frames))
            if width not in BYTES or one * width > LARGEST_BYTES:
                return False
            raw = self._room(one * width)
            if os.preadv(descriptor, [raw], at + header_bytes) < len(raw):
                return False
        finally:
            os.close(descriptor)
        kind = "i" if _is_signed(header) else "u"
        values = np.frombuffer(raw, f"<{kind}{width}")
        return may_be_written_on(values.reshape(rows, columns))

    def _room(self, size: int) -> memoryview:
        """Return memory to read into: asked for anew it costs more than the reading."""
        if size > KEPT_BYTES:
            return memoryview(bytearray(size))
        if len(self._memory) < size:
            self._memory = bytearray(size)
        return memoryview(self._memory)[:size]


def _is_signed(header: bytes) -> bool:
    """Find Pixel Representation where it stands last: sequences before it may have their own."""
    at = header.rfind(SIGNED)
    return at >= 0 and header[at + 8 : at + 9] == b"\x01"
