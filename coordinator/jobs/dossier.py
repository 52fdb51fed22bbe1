"""What a reviewer reads of a bundle: its manifest, its files as text, and what has changed."""

import asyncio
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from hashlib import sha256

from coordinator.errors import IntegrityFault, NotFound
from coordinator.store.objects import Objects
from protos.job_manifest import MANIFEST, JobManifest, parse_manifest

DAMAGED = "the stored bundle is damaged: restore the objects from a backup"
FILE_BYTES = 256 << 10  # a longer text is read with `radfed job code`
TEXT_BYTES = 1 << 20  # of all files of one bundle together
KEPT = 64
DIFF_LINES_AT_MOST = 3000


@dataclass(frozen=True, slots=True)
class CodeFile:
    """One file; `text` is None where it is no text, or too long to be shown whole."""

    name: str
    size: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Dossier:
    manifest: JobManifest
    files: tuple[CodeFile, ...]

    @property
    def unshown(self) -> tuple[CodeFile, ...]:
        return tuple(each for each in self.files if each.text is None)


@dataclass(frozen=True, slots=True)
class Changes:
    """The lines of a diff; `more` where they are not all, `other` names what is not compared."""

    lines: tuple[str, ...]
    more: bool
    other: tuple[str, ...]


class Dossiers:
    """Reads bundles that were checked when they were submitted, and keeps the last few."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._kept: OrderedDict[bytes, Dossier] = OrderedDict()
        self._checked: set[bytes] = set()

    async def checked(self, bundle_digest: bytes) -> Dossier:
        """Return a bundle whose bytes were found, since this start, to be what its digest names."""
        if bundle_digest not in self._checked:
            await asyncio.to_thread(self._check, bundle_digest)
            self._checked.add(bundle_digest)
        return await self.of(bundle_digest)

    async def of(self, bundle_digest: bytes) -> Dossier:
        held = self._kept.get(bundle_digest)
        if held is None:
            held = self._kept[bundle_digest] = await asyncio.to_thread(self._read, bundle_digest)
        self._kept.move_to_end(bundle_digest)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return held

    def _check(self, bundle_digest: bytes) -> None:
        found = sha256()
        try:
            for block in self._objects.chunks(bundle_digest):
                found.update(block)
        except NotFound:
            raise IntegrityFault(DAMAGED) from None
        if found.digest() != bundle_digest:
            raise IntegrityFault(DAMAGED)

    def _read(self, bundle_digest: bytes) -> Dossier:
        try:
            with tarfile.open(self._objects.path(bundle_digest), "r:") as tar:
                files = tuple(_files(tar))
            (manifest,) = (each.text for each in files if each.name == MANIFEST)
            return Dossier(parse_manifest(manifest or ""), files)
        except (tarfile.TarError, OSError, ValueError) as fault:
            raise IntegrityFault(DAMAGED) from fault


def compare(before: Dossier, now: Dossier) -> Changes:
    """Say what differs between two bundles, file by file."""
    old, new = ({each.name: each for each in one.files} for one in (before, now))
    lines: list[str] = []
    other = []
    for name in sorted(old.keys() | new.keys()):
        was, is_ = old.get(name), new.get(name)
        if (was and was.text is None) or (is_ and is_.text is None):
            other.append(name)  # weights, as a rule; their digest is in the bundle's
        elif was != is_ and len(lines) <= DIFF_LINES_AT_MOST:
            lines += unified_diff(
                _lines(was), _lines(is_), f"before/{name}", f"now/{name}", lineterm=""
            )
    cut = len(lines) > DIFF_LINES_AT_MOST
    return Changes(tuple(lines[:DIFF_LINES_AT_MOST]), cut, tuple(other))


def _files(tar: tarfile.TarFile) -> Iterator[CodeFile]:
    room = TEXT_BYTES
    for member in tar:
        text = None
        if member.size <= min(FILE_BYTES, room) or member.name == MANIFEST:
            source = tar.extractfile(member)
            text = _text(source.read() if source else b"")
        room -= len(text or "")
        yield CodeFile(member.name, member.size, text)


def _text(content: bytes) -> str | None:
    try:
        return None if b"\0" in content else content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _lines(file: CodeFile | None) -> list[str]:
    return (file.text or "").splitlines() if file else []
