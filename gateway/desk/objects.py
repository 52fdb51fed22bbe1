"""Bundles and weights by their digest: what was fetched, and how far a fetch has come."""

import os
from dataclasses import dataclass
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path

from gateway.errors import IntegrityFault
from protos.repeats import Span, extend

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object the desk needs before it can go on."""

    digest: bytes
    size: int


class Objects:
    """A directory; a finished object is read-only and named by its SHA-256."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, digest: bytes) -> Path:
        return self._directory / digest.hex()

    def has(self, digest: bytes) -> bool:
        return self.path(digest).exists()

    def read(self, digest: bytes) -> bytes:
        """Return an object, checked once more: a disk forgets too."""
        raw = self.path(digest).read_bytes()
        if sha256(raw).digest() != digest:
            self.path(digest).unlink()
            raise IntegrityFault(f"the object {digest.hex()[:16]} was altered: it is fetched again")
        return raw

    def mapped(self, digest: bytes) -> memoryview:
        """Return a large object as `read` does, but on the disk: it comes in as it is used."""
        with self.path(digest).open("rb") as file:
            found = sha256()
            while block := file.read(BLOCK):
                found.update(block)
            if found.digest() != digest:
                self.path(digest).unlink()
                raise IntegrityFault(f"the object {digest.hex()[:16]} was altered: fetched again")
            return memoryview(mmap(file.fileno(), 0, prot=PROT_READ))

    def held(self, wanted: Wanted) -> int:
        """Return where an interrupted fetch resumes."""
        try:
            return min(self._part(wanted.digest).stat().st_size, wanted.size)
        except FileNotFoundError:
            return 0

    def append(self, wanted: Wanted, chunk: bytes) -> None:
        """Take the next bytes; IntegrityFault when more come than were promised."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._part(wanted.digest).open("ab") as file:
            if file.tell() + len(chunk) > wanted.size:
                raise IntegrityFault("the coordinator sent more than it promised")
            file.write(chunk)

    def repeat(self, wanted: Wanted, source: int, length: int) -> None:
        """Take bytes that are here already once more; IntegrityFault where they are not."""
        span = Span(self.held(wanted), length, source)
        if not span.is_sound() or span.at + length > wanted.size:
            raise IntegrityFault("the coordinator repeats what it has not sent")
        with self._part(wanted.digest).open("ab+", buffering=0) as file:
            extend(file, span)

    def finish(self, wanted: Wanted) -> None:
        """Publish a complete object; what does not match its digest is thrown away."""
        part = self._part(wanted.digest)
        found = sha256()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with part.open("ab+") as file:
            file.seek(0)
            while block := file.read(BLOCK):
                found.update(block)
            file.flush()
            os.fsync(file.fileno())
        if found.digest() != wanted.digest:
            self.discard(wanted)
            raise IntegrityFault("what the coordinator sent is not what its digest promises")
        part.chmod(0o444)
        part.replace(self.path(wanted.digest))

    def discard(self, wanted: Wanted) -> None:
        self._part(wanted.digest).unlink(missing_ok=True)

    def drop(self, digest: bytes) -> None:
        """Forget an object that nothing needs any more; it can be fetched again."""
        self.path(digest).unlink(missing_ok=True)

    def _part(self, digest: bytes) -> Path:
        return self._directory / f"{digest.hex()}.part"
