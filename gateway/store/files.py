"""The store: de-identified Part 10 files, published whole, durable and once.

    arrivals/<sop>.dcm                  acknowledged to the sender, not yet in the index
    <2 hex>/<study>/<series>/<sop>.dcm  in the index
    .locks/<2 hex>                      advisory locks, so that one instance is decided once

All UIDs here are pseudonyms. No database is asked: whether an instance is new is decided from the
sealed records of the files.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from gateway.deid.facts import DeidFacts
from gateway.durable import Directory, Draft, make_durably, sync_directory
from gateway.errors import IntegrityFault
from gateway.keys import Ring
from gateway.model import Lane, PseudoUID
from gateway.store.part10 import parse_head, read_head
from gateway.store.sealed import SIZE, Seal, SealedRecord

SUFFIX = ".dcm"
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")  # nothing that could leave the store's directory
LONGEST_UID = 64


class Publication(StrEnum):
    """What became of a file (the rules of custody for a UID seen before)."""

    NEW = "new"
    DUPLICATE = "duplicate"  # same bytes as received before, de-identified by the same profile
    SUPERSEDED = "superseded"  # same pixels: a correction by the PACS, or another profile
    CONFLICT = "conflict"  # other pixels: the first stays


class HeldDamaged(IntegrityFault):
    """The file of this UID that is stored already does not open."""

    def __init__(self) -> None:
        super().__init__("the stored file of this UID is damaged: run `radfed gateway reindex`")


@dataclass(frozen=True, slots=True)
class Names:
    """The pseudonymous UIDs a file is filed under."""

    study: PseudoUID
    series: PseudoUID
    sop: PseudoUID

    def __post_init__(self) -> None:
        for uid in (self.study, self.series, self.sop):
            if len(uid) > LONGEST_UID or not UID_FORM.fullmatch(uid):
                raise IntegrityFault("a pseudonymous UID is malformed: check the profile")

    @classmethod
    def of(cls, facts: DeidFacts) -> "Names":
        return cls(facts.study_uid, facts.series_uid, facts.sop_uid)

    @property
    def file(self) -> str:
        return self.sop + SUFFIX

    @property
    def folder(self) -> str:
        """Return the series' folder, relative to the store."""
        spread = sha256(self.study.encode("ascii")).hexdigest()[:2]
        return f"{spread}/{self.study}/{self.series}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file}"


def compare(held: SealedRecord, new: SealedRecord) -> Publication:
    """Decide what a second instance of one UID is.

    What the vault lane looked at takes the place of the same image from the express lane.
    """
    if held.received == new.received and _made_by(held) == _made_by(new):
        is_looked_at = held.lane is Lane.EXPRESS and new.lane is Lane.VAULT
        return Publication.SUPERSEDED if is_looked_at else Publication.DUPLICATE
    if held.pixels == new.pixels:
        return Publication.SUPERSEDED
    return Publication.CONFLICT


def _made_by(record: SealedRecord) -> tuple[str, int, int]:
    """Return the profile and the versions of the keys a file was made with."""
    facts = record.facts
    return facts.profile_digest, facts.pseudonym_version, facts.shift_version


class Store:
    """The files of one gateway; several processes publish, one line settles."""

    def __init__(self, directory: Path, seal_key: bytes | Ring) -> None:
        self.directory = directory
        self.seal = Seal(seal_key)
        self.arrivals = Directory(directory / "arrivals")
        self._locks = directory / ".locks"
        make_durably(self._locks)

    @property
    def line_lock(self) -> Path:
        """Held by the one line that settles arrivals."""
        return self._locks / "line"

    def draft(self) -> Draft:
        return self.arrivals.draft()

    def path(self, relative: str) -> Path:
        """Resolve a path of the index."""
        return self.directory / relative

    def record_of(self, path: Path | str) -> SealedRecord:
        """Open a file's sealed record; FileNotFoundError, IntegrityFault."""
        head = read_head(path)
        return self.seal.open(head.sealed, head.sop_uid)

    def publish(
        self, draft: Draft, names: Names, record: SealedRecord, *, older: bool = False
    ) -> Publication:
        """Make a complete draft durable under its name, unless its instance is here already.

        An `older` one is stored already, under another name: what came since is its newer version.

        On return the instance is durable, whichever file holds it (CONFLICT excepted: nothing of
        the draft is kept). Order: fdatasync(file), link, fsync(directory).
        """
        outcome = self._decide(names, record, older=older)
        if outcome in {Publication.NEW, Publication.SUPERSEDED}:
            draft.sync()
            with self.locked(names.sop):  # another process may have been quicker
                outcome = self._decide(names, record, older=older)
                if outcome is Publication.NEW:
                    draft.publish(names.file)
                elif outcome is Publication.SUPERSEDED:
                    draft.supersede(names.file)
            self._sync_arrivals(names, outcome)
        return outcome

    def holds(self, names: Names, record: SealedRecord) -> bool:
        """Say whether exactly this instance is stored, durably."""
        return self._decide(names, record) is Publication.DUPLICATE

    def renew(self, draft: Draft, names: Names, held: Path, sealed: bytes) -> bool:
        """Put a draft in the place of the file that has this record; say whether it still had.

        The old file is there until the new one is durable: an arrival goes before its folder's.
        """
        draft.sync()
        with self.locked(names.sop):
            if not self._is_newest(names, held, sealed):
                return False
            if held.parent == self.arrivals.path:
                draft.supersede(names.file)
            else:
                draft.publish(names.file)
        self.arrivals.sync()
        return True

    def retire(self, names: Names, held: Path, sealed: bytes) -> bool:
        """Remove the file that has this record, kept elsewhere now; say whether it still had."""
        with self.locked(names.sop):
            if not self._is_newest(names, held, sealed):
                return False
            held.unlink()
        sync_directory(held.parent)
        return True

    def _is_newest(self, names: Names, held: Path, sealed: bytes) -> bool:
        arrived = self.arrivals.path / names.file
        if held != arrived and arrived.exists():
            return False
        try:
            return read_head(held).sealed == sealed
        except FileNotFoundError:
            return False

    def keeps(self, path: Path, received: str) -> bool:
        """Say whether a file is whole at its head, durable, and arrived as those bytes."""
        try:
            held = self.record_of(path).received == received
        except (FileNotFoundError, IntegrityFault):
            return False
        if held:
            sync_directory(path.parent)
        return held

    def sweep(self, before: float) -> None:
        """Remove passing names that a crash left before that time; their files have another."""
        for path in self.arrivals.path.glob(".*"):
            with suppress(FileNotFoundError):
                if path.stat().st_ctime < before:
                    path.unlink()

    def _sync_arrivals(self, names: Names, outcome: Publication) -> None:
        """Make the new name durable; if that fails, a resend must not find it and trust it."""
        try:
            self.arrivals.sync()
        except OSError:
            if outcome is Publication.NEW:
                with self.locked(names.sop):
                    (self.arrivals.path / names.file).unlink(missing_ok=True)
            raise

    def _decide(self, names: Names, record: SealedRecord, *, older: bool = False) -> Publication:
        # In this order: the line links a file in its folder before it leaves the arrivals.
        # Joined as text: most instances are new, and Paths cost more than to find that out.
        for path in (f"{self.arrivals.path}/{names.file}", f"{self.directory}/{names.path}"):
            try:
                held = self.record_of(path)
            except FileNotFoundError:
                continue
            except IntegrityFault as fault:
                raise HeldDamaged from fault
            outcome = compare(held, record)
            if older and outcome is Publication.SUPERSEDED:
                outcome = Publication.DUPLICATE
            if outcome is Publication.DUPLICATE:
                sync_directory(Path(path).parent)  # whoever linked it may not have come so far
            return outcome
        return Publication.NEW

    @contextmanager
    def locked(self, sop: PseudoUID) -> Iterator[None]:
        """Keep every other process from deciding about this instance."""
        shard = sha256(sop.encode("ascii")).hexdigest()[:2]
        descriptor = os.open(f"{self._locks}/{shard}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def arrived(self, at_most: int) -> list[Path]:
        """Return published files that wait to be settled."""
        found = []
        with os.scandir(self.arrivals.path) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                    found.append(Path(entry.path))
                    if len(found) == at_most:
                        break
        return found

    def file_away(self, batch: Sequence[tuple[Path, int, Names]]) -> int:
        """Move arrivals (path, inode seen, names) into their studies' folders; return how many.

        Linked first, folders synced up to the store's own, then unlinked: a crash leaves the file
        in one place or both. One that was superseded meanwhile stays for the next pass.
        """
        linked = []
        fresh: set[Path] = set()
        for path, inode, names in batch:
            folder = self.path(names.folder)
            make_durably(folder)
            with self.locked(names.sop):
                if _inode(path) == inode:
                    _link_over(path, folder / names.file)
                    linked.append((path, inode, names))
                    fresh.add(folder)
        for folder in self._with_parents(fresh):
            sync_directory(folder)
        for path, inode, names in linked:
            self.let_go(path, inode, names)
        return len(linked)

    def _with_parents(self, folders: set[Path]) -> set[Path]:
        """Add the folders above: one may have been made, and not synced, before a crash."""
        own = self.directory
        return {own, *(f for leaf in folders for f in (leaf, *leaf.parents) if own in f.parents)}

    def let_go(self, path: Path, inode: int, names: Names) -> None:
        """Remove an arrival that is kept elsewhere now, unless a newer one took its name."""
        with self.locked(names.sop):
            if _inode(path) == inode:
                path.unlink()

    def remove(self, relative: str) -> None:
        """Remove a file that was superseded from elsewhere, or set aside, durably."""
        path = self.path(relative)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_directory(path.parent)

    def files(self) -> Iterator[Path]:
        """Return every file of the store, settled or not."""
        yield from self.arrived(at_most=-1)
        for path in sorted(self.directory.glob(f"[0-9a-f][0-9a-f]/*/*/*{SUFFIX}")):
            if not path.name.startswith("."):
                yield path


def without_record(raw: bytes) -> bytes:
    """Return a stored file's bytes with its sealed record blanked, for whoever must not have it."""
    end = parse_head(raw).dataset
    return raw[: end - SIZE] + bytes(SIZE) + raw[end:]


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _link_over(path: Path, target: Path) -> None:
    """Give a file a second name, replacing what had it (an older version of the same instance)."""
    try:
        os.link(path, target)
    except FileExistsError:
        if _inode(path) == _inode(target):
            return
        passing = target.with_name(f".{target.name}")  # the line alone comes here
        passing.unlink(missing_ok=True)
        os.link(path, passing)
        passing.replace(target)
