"""Part 10 files from a directory or a ZIP, taken into custody as if a peer had sent them."""

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from gateway.config import Intake
from gateway.errors import ConfigurationFault, ReserveReached
from gateway.intake.custody import Custody, Incoming
from gateway.intake.dimse import is_uid
from gateway.intake.part10 import FileMeta, NotPart10, read_file_meta
from gateway.intake.rules import Admission
from gateway.model import Arrival, RealUID

CALLING_AE: Final = "IMPORT"
CHUNK_BYTES: Final = 1 << 20
MEDIA_DIRECTORY: Final = b"1.2.840.10008.1.3.10"  # a DICOMDIR: an index, no instance (PS3.10 8.6)
SKIPPED: Final = "skipped"
UNREADABLE: Final = (OSError, EOFError, RuntimeError, zlib.error)


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A file that stays where it is. Its name may identify: for the operator's eyes, in no log."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    stored: int
    duplicate: int
    quarantined: int
    skipped: int  # directories of media
    not_taken: tuple[NotTaken, ...]
    stopped: str = ""  # why the rest was not tried; a second run stores nothing twice

    @property
    def complete(self) -> bool:
        return not self.not_taken and not self.stopped


class Source(Protocol):
    """A place with files in it."""

    def names(self) -> Sequence[str]: ...

    def open(self, name: str, /) -> IO[bytes]: ...


def import_directory(
    path: Path,
    custody: Custody,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    config: Intake | None = None,
) -> ImportReport:
    """Take every Part 10 file below `path`, or in that ZIP; `progress` hears done and total."""
    config = config or Intake()
    admission, called_ae = Admission(config), config.ae_title
    counts: Counter[str] = Counter()
    not_taken: list[NotTaken] = []
    stopped = ""
    with source_of(path) as source:
        names = source.names()
        for done, name in enumerate(names, 1):
            try:
                with source.open(name) as file:
                    counts[take(file, custody, admission, called_ae)] += 1
            except ReserveReached as fault:
                stopped = str(fault)
                break
            except NotPart10 as fault:
                not_taken.append(NotTaken(name, str(fault)))
            except (*UNREADABLE, zipfile.BadZipFile) as fault:
                not_taken.append(
                    NotTaken(name, f"it could not be read or kept ({type(fault).__name__})")
                )
            progress(done, len(names))
    return ImportReport(
        counts["stored"],
        counts["duplicate"],
        counts["quarantined"],
        counts[SKIPPED],
        tuple(not_taken),
        stopped,
    )


def take(file: IO[bytes], custody: Custody, admission: Admission, called_ae: str) -> str:
    """Give one file to custody; return the kind of its verdict, NotPart10 where it has none."""
    meta, beginning = read_file_meta(file)
    if meta.sop_class == MEDIA_DIRECTORY:
        return SKIPPED
    _require_welcome(meta, admission)
    arrival = Arrival(
        meta.sop_class.decode("ascii"),
        RealUID(meta.sop_instance.decode("ascii")),
        meta.transfer_syntax.decode("ascii"),
        CALLING_AE,
        called_ae,
    )
    incoming = custody.begin(arrival)
    try:
        _copy(beginning, file, incoming)
        verdict = incoming.commit()
    finally:
        incoming.abort()  # does nothing after a commit
    if verdict.kind == "rejected":
        raise NotPart10(verdict.reason)
    return str(verdict.kind)


def _require_welcome(meta: FileMeta, admission: Admission) -> None:
    if not admission.takes(meta.sop_class, meta.transfer_syntax):
        raise NotPart10("its SOP class or transfer syntax is not taken")
    if not is_uid(meta.sop_instance):
        raise NotPart10("its SOP instance UID is no UID")


def _copy(beginning: bytes, file: IO[bytes], incoming: Incoming) -> None:
    incoming.write(beginning)
    while chunk := file.read(CHUNK_BYTES):
        incoming.write(chunk)


def source_of(path: Path) -> AbstractContextManager[Source]:
    if path.is_dir():
        return nullcontext(_Directory(path))
    if path.is_file() and not zipfile.is_zipfile(path):
        return nullcontext(_File(path))
    try:
        return _Zip(path)
    except FileNotFoundError as fault:
        raise ConfigurationFault(f"{path} does not exist") from fault
    except (OSError, zipfile.BadZipFile) as fault:
        raise ConfigurationFault(f"{path} is not a directory, a file or a readable ZIP") from fault


class _File:
    """One file by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Sequence[str]:
        return [self._path.name]

    def open(self, _name: str) -> IO[bytes]:
        return self._path.open("rb")


class _Directory:
    """Regular files below a directory, in order; links are not followed out of it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> Sequence[str]:
        found = (
            Path(directory, name) for directory, _, names in os.walk(self._root) for name in names
        )
        return sorted(
            str(file.relative_to(self._root))
            for file in found
            if file.is_file() and not file.is_symlink()
        )

    def open(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")


class _Zip(zipfile.ZipFile):
    """Members are read as they are unpacked: nothing of them touches the disk in the clear."""

    def names(self) -> Sequence[str]:
        return sorted(member.filename for member in self.infolist() if not member.is_dir())
