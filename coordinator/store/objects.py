"""Large objects, named by their SHA-256: bundles, weights, updates. Every method may block."""

import os
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock

from coordinator.errors import IntegrityFault, InvalidRequest, NotFound, TooLarge, WrongMoment
from protos.repeats import Span, extend, outline, rest

DIGEST_BYTES = 32
BLOCK = 1 << 20
OUTLINES = 8
_OWNER = re.compile(r"[A-Za-z0-9._-]{1,160}")


class Objects:
    """A directory of finished objects, and one of those that are still arriving.

    An object is published by rename after fsync, so a name never stands for other bytes.
    """

    def __init__(self, directory: Path, term: int = 0) -> None:
        self._directory = directory
        self._partial = directory / "partial"
        self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._scratch = f"scratch-{term}-"  # a former leader may be writing still: never the same
        for left in self._partial.glob("scratch-*"):
            left.unlink(missing_ok=True)
        self._appending = Lock()  # a cut transfer's last chunk must not meet the next one's first
        self._outlining = Lock()  # at a round's start every hospital asks for the same object
        self._outlines: dict[bytes, Sequence[Span]] = {}
        self._publishing = Lock()  # two callers may bring the same object at once

    def path(self, digest: bytes) -> Path:
        """Return where a finished object lies, or would."""
        name = _hex(digest)
        return self._directory / name[:2] / name

    def size(self, digest: bytes) -> int | None:
        """Return a finished object's length; None where there is none."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def held(self, digest: bytes, owner: str) -> int:
        """Return how many bytes of the object are here: where a transfer resumes."""
        size = self.size(digest)
        if size is not None:
            return size
        try:
            return self._arriving(digest, owner).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, digest: bytes, owner: str, offset: int, chunk: bytes, limit: int) -> int:
        """Add a chunk where the last one ended; return how many bytes are held now.

        A chunk that is here already changes nothing. Each owner has a file of its own, so that
        nobody can spoil another's transfer.
        """
        if offset + len(chunk) > limit:
            raise TooLarge(f"the object is longer than the {limit} bytes announced for it")
        with self._appending:
            held = self.held(digest, owner)
            if offset > held:
                raise WrongMoment(f"the transfer resumes at byte {held}, not at {offset}")
            fresh = chunk[held - offset :]
            if fresh and self.size(digest) is None:
                with self._arriving(digest, owner).open("ab") as file:
                    file.write(fresh)
            return max(held, offset + len(chunk))

    def repeat(self, digest: bytes, owner: str, span: Span, limit: int) -> int:
        """Add bytes that are here already, once more; return how many bytes are held now."""
        if span.at + span.length > limit:
            raise TooLarge(f"the object is longer than the {limit} bytes announced for it")
        if span.source is None or not span.is_sound():
            raise InvalidRequest("a repeat is of earlier bytes of the same object")
        with self._appending:
            held = self.held(digest, owner)
            if span.at > held:
                raise WrongMoment(f"the transfer resumes at byte {held}, not at {span.at}")
            fresh = list(rest([span], held))
            if fresh and self.size(digest) is None:
                with self._arriving(digest, owner).open("ab+", buffering=0) as file:
                    extend(file, fresh[0])
            return max(held, span.at + span.length)

    def outline(self, digest: bytes) -> Sequence[Span]:
        """Return what of a finished object repeats what of it; the last few are remembered."""
        with self._outlining:
            if digest not in self._outlines:
                self._outlines[digest] = self._outlined(digest)
                while len(self._outlines) > OUTLINES:
                    self._outlines.pop(next(iter(self._outlines)))
            return self._outlines[digest]

    def _outlined(self, digest: bytes) -> Sequence[Span]:
        try:
            with self.path(digest).open("rb") as file:
                whole, descriptor = os.fstat(file.fileno()).st_size, file.fileno()
                return outline(whole, lambda at, size: os.pread(descriptor, size, at))
        except FileNotFoundError as fault:
            raise NotFound("no object of this digest is held here") from fault

    def keep_only(self, digest: bytes, owner: str) -> None:
        """Drop what an owner began under another digest: one transfer at a time for each."""
        mine = self._arriving(digest, owner)
        for other in self._partial.glob(f"*.{owner}"):
            if other != mine and other.name.endswith(f".{owner}"):
                other.unlink(missing_ok=True)

    def publish(self, digest: bytes, owner: str) -> int:
        """Check the finished transfer, make it durable under its name, return its length."""
        with self._publishing:
            size = self.size(digest)
            if size is not None:
                return size
            arriving = self._arriving(digest, owner)
            if not arriving.exists():
                arriving.touch()
            if not _is_whole(arriving, digest):
                arriving.unlink()
                raise IntegrityFault("the object does not have the digest it came under")
            return self._move(arriving, digest)

    def is_whole(self, digest: bytes, owner: str) -> bool:
        """Say whether an object is here; one whose last byte came before a crash is published."""
        with self._publishing:
            if self.size(digest) is not None:
                return True
            arriving = self._arriving(digest, owner)
            if not arriving.exists() or not _is_whole(arriving, digest):
                return False
            self._move(arriving, digest)
            return True

    def add(self, content: bytes) -> bytes:
        """Store bytes made here; return their digest."""
        digest = sha256(content).digest()
        with self._publishing:
            if self.size(digest) is None:
                arriving = self._arriving(digest, "coordinator")
                with arriving.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                self._move(arriving, digest)
        return digest

    def adopt(self, file: Path) -> bytes:
        """Store a file made here, which must lie in `scratch`; return its digest."""
        with file.open("rb") as stream:
            digest = _digest_of(stream.fileno())
            os.fsync(stream.fileno())
        self._move(file, digest)
        return digest

    def scratch(self, name: str) -> Path:
        """Return a path on the objects' own disk for something about to be adopted."""
        return self._partial / f"{self._scratch}{name}"

    def read(self, digest: bytes, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; empty at the end."""
        try:
            with self.path(digest).open("rb") as file:
                if offset >= os.fstat(file.fileno()).st_size:
                    return b""  # a caller may name an offset that no file has
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError as fault:
            raise NotFound("no object of this digest is held here") from fault

    def chunks(self, digest: bytes) -> Iterator[bytes]:
        """Yield a finished object block by block."""
        offset = 0
        while block := self.read(digest, offset, BLOCK):
            yield block
            offset += len(block)

    def _arriving(self, digest: bytes, owner: str) -> Path:
        if not _OWNER.fullmatch(owner):
            raise ValueError("an owner is a short plain word")
        return self._partial / f"{_hex(digest)}.{owner}"

    def _move(self, arriving: Path, digest: bytes) -> int:
        final = self.path(digest)
        fresh = not final.parent.exists()
        final.parent.mkdir(exist_ok=True, mode=0o700)
        size = arriving.stat().st_size
        arriving.rename(final)
        _sync_directory(final.parent)
        if fresh:
            _sync_directory(self._directory)
        return size


def _is_whole(arriving: Path, digest: bytes) -> bool:
    """Check what arrived against its name; durable on return where it is right."""
    with arriving.open("rb") as file:
        if _digest_of(file.fileno()) != digest:
            return False
        os.fsync(file.fileno())
    return True


def _hex(digest: bytes) -> str:
    if len(digest) != DIGEST_BYTES:
        raise NotFound("an object is named by the 32 bytes of its SHA-256")
    return digest.hex()


def _digest_of(descriptor: int) -> bytes:
    digest, offset = sha256(), 0
    while block := os.pread(descriptor, BLOCK, offset):
        digest.update(block)
        offset += len(block)
    return digest.digest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
