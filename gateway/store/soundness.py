"""Reading stored files again: every byte from the disk, against what was sealed when it came."""

import os
from pathlib import Path
from typing import Final, Protocol

from gateway.model import Lane
from gateway.store.files import Names, Store
from gateway.store.part10 import HEAD_BYTES, parse_head
from gateway.store.sealed import SIZE, SealedRecord

READ_BYTES: Final = 1 << 20


def prove(store: Store, path: Path) -> tuple[SealedRecord, bool]:
    """Return a file's record, and whether all of it is as it was written.

    FileNotFoundError; IntegrityFault where even the record does not open.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # What the kernel remembers is no proof of what the disk holds.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        head = parse_head(os.pread(descriptor, HEAD_BYTES, 0))
        record = store.seal.open(head.sealed, head.sop_uid)
        return record, _is_sound(store, descriptor, head.dataset, record)
    finally:
        os.close(descriptor)


def is_in_place(store: Store, path: Path, record: SealedRecord) -> bool:
    """Tell a file that lies where the index looks for it from one under another's name."""
    names = Names.of(record.facts)
    if path.parent == store.arrivals.path:
        return path.name == names.file
    return path == store.path(names.path)


def _is_sound(store: Store, descriptor: int, at: int, record: SealedRecord) -> bool:
    """Compare every byte behind the record with the prints taken when they were written."""
    seal, size = store.seal, os.fstat(descriptor).st_size
    if not record.header_print:
        return False  # written before headers were printed
    start = os.pread(descriptor, at - SIZE, 0)
    header = seal.header_print()
    header.update(start)
    end = at + record.header_bytes
    if size < end or not _feed(header, descriptor, at, end):
        return False
    if header.finalize().hex() != record.header_print:
        return False
    if size == end and record.lane is Lane.VAULT:
        return True  # its pixels were printed with its header
    pixels, wanted = seal.pixel_print(), record.stored_pixels or record.pixels
    return _feed(pixels, descriptor, end, size) and pixels.finalize().hex() == wanted


class _Print(Protocol):
    def update(self, data: bytes) -> None: ...


def _feed(to: _Print, descriptor: int, at: int, end: int) -> bool:
    """Show it a part of the file; False where the file ends too early."""
    while at < end:
        part = os.pread(descriptor, min(READ_BYTES, end - at), at)
        if not part:
            return False
        to.update(part)
        at += len(part)
    return True
