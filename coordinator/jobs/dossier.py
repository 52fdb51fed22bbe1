"""What a reviewer reads of a bundle: its manifest, its files as text, and what has changed."""

import asyncio
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff

from coordinator.errors import IntegrityFault
from coordinator.store.objects import Objects
from protos.bundle import MANIFEST, BundleFault, JobManifest, parse_manifest

FILE_BYTES = 256 << 10  # a longer text is read with `radfed job code`
TEXT_BYTES = 1 << 20  # of all files of one bundle together
KEPT = 24
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

    async def of(self, bundle_digest: bytes) -> Dossier:
        held = self._kept.get(bundle_digest)
        if held is None:
            held = self._kept[bundle_digest] = await asyncio.to_thread(self._read, bundle_digest)
        self._kept.move_to_end(bundle_digest)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return held

    def _read(self, bundle_digest: bytes) -> Dossier:
        try:
            with tarfile.open(self._objects.path(bundle_digest), "r:") as tar:
                files = tuple(_files(tar))
            (manifest,) = (each.text for each in files if each.name == MANIFEST)
            return Dossier(parse_manifest(manifest or ""), files)
        except (tarfile.TarError, OSError, ValueError) as fault:
            says = "is not one that can be read" if isinstance(fault, BundleFault) else "is damaged"
            raise IntegrityFault(
                f"the stored bundle {says}: restore the objects from a backup"
            ) from fault


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
