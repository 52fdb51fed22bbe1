"""The instance line: one writer that brings arrivals into the index and their studies' folders.

    vault/incoming -> reference engine -> arrivals | quarantine
                      a head waits -> a quiet series -> its face removed -> arrivals | quarantine
    arrivals -> index (committed) -> study folder;  a quiet series -> grade
    arrivals that look written on -> vault/incoming
    quarantine past its time -> erased

Every step is repeatable: a crash between any two ends, after the next pass, in the same state.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.deid.facts import DeidFacts
from gateway.errors import EnvironmentFault, IntegrityFault
from gateway.line.budget import HeaderMemory
from gateway.line.emptying import VAULTED_AT_ONCE, Emptying
from gateway.line.encoding import silence_pydicom
from gateway.line.express import OTHER_PIXELS
from gateway.line.face_look import FaceLook
from gateway.line.face_wait import Patience, WaitingRoom
from gateway.line.grading import grade_of
from gateway.line.pixel_look import PixelLook
from gateway.line.reference import SecondLook
from gateway.line.retention import Retention
from gateway.line.suspicion import SUSPECTED, Glance
from gateway.line.terms import WHOLE_BYTES, Audit, Engine, Means, Stream, Unaudited
from gateway.model import Arrival, InstanceFacts
from gateway.store.files import Names, Publication, Store, compare
from gateway.store.index import Index
from gateway.store.labels import Label, add_labels
from gateway.store.part10 import read_head
from gateway.store.patients import Register
from gateway.store.rejection import KEY_OBJECTS, TITLES, Rejection, rejection_of
from gateway.store.sealed import SealedRecord
from gateway.store.standards import CLASSES, standard_of
from gateway.vault.entry import Kept, Reason
from gateway.vault.vault import Vault

log = structlog.get_logger()

BATCH = 500
PASS_SECONDS = 0.2  # arrivals come in batches: a commit and its syncs cost as much for one
QUIET_SECONDS = 3.0
LEFT_BEHIND_SECONDS = 3600.0  # no receiver needs a passing name for as long


@dataclass(frozen=True, slots=True)
class _Arrived:
    path: Path
    inode: int
    size: int
    record: SealedRecord
    names: Names
    note: Rejection | None
    labels: tuple[Label, ...]  # what a reference standard says

    @property
    def facts(self) -> InstanceFacts:
        return self.record.facts.stored(
            size_bytes=self.size, received_digest=self.record.received, path=self.names.path
        )


class Line:
    """The one worker of a gateway; a second one over the same store is refused."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        engine: Engine,
        index: Index,
        *,
        register: Register | None = None,
        keep_days: int = 0,
        whole_bytes_at_most: int = WHOLE_BYTES,
        audit: Audit | None = None,
        pixel_look: PixelLook | None = None,
        faces: FaceLook | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.time,
        quiet_seconds: float = QUIET_SECONDS,
        stream: Stream | None = None,
    ) -> None:
        silence_pydicom()
        self._store = store
        self._vault = vault
        self._index = index
        self._audit = audit or Unaudited()
        self._register = register
        self._clock = clock
        self._retention = Retention(vault, self._audit, keep_days, clock)
        self._quiet_seconds = quiet_seconds
        self._damaged: set[str] = set()  # reported once
        self._lock: int | None = None
        self._stop = threading.Event()
        self._pixel_look = pixel_look or PixelLook()
        self._glance = Glance()
        second_look = SecondLook(
            Means(
                store=store,
                vault=vault,
                engine=engine,
                header_limit_bytes=0,  # the whole dataset is in memory here
                header_memory=HeaderMemory(0),
                reserve_bytes=0,
                audit=self._audit,
                now=lambda: datetime.fromtimestamp(clock(), UTC),
                stream=stream,
                whole_bytes_at_most=whole_bytes_at_most,
            ),
            self._holds,
            self._pixel_look,
            self._is_stopping,
            faces,
        )
        heads = WaitingRoom(patience or Patience())
        self._emptying = Emptying(vault, second_look, heads, clock, self._is_stopping)

    def _is_stopping(self) -> bool:
        return self._stop.is_set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; the vault in a thread of its own, for a look may take minutes."""
        self._hold_lock()
        self._stop = threading.Event()
        faults: list[Exception] = []

        def look() -> None:
            try:
                self._repeat(lambda: self._emptying.take() == VAULTED_AT_ONCE, stop)
            except Exception as fault:  # noqa: BLE001 - the room fails as a whole, and starts anew
                faults.append(fault)

        second = threading.Thread(target=look, name="second look")
        second.start()
        try:
            self._repeat(lambda: self._pass_by_vault(faults), stop)
        finally:
            self._stop.set()
            second.join()

    def _pass_by_vault(self, faults: list[Exception]) -> bool:
        if faults:
            raise faults[0]
        settled = self._settle()
        self._grade()
        self._retention.enforce()
        return settled >= BATCH

    def _repeat(self, work: Callable[[], bool], stop: threading.Event) -> None:
        """Do it until `stop`, at once while more waits; a fault of the disk is tried again."""
        while not (stop.is_set() or self._stop.is_set()):
            try:
                more_waits = work()
            except (OSError, sqlite3.Error) as fault:
                log.error("line_pass_failed", kind=type(fault).__name__)  # noqa: TRY400 - no traceback
                more_waits = False
            if not more_waits:
                stop.wait(PASS_SECONDS)

    def run_once(self) -> int:
        """Do one pass; return how many instances and series went a step further."""
        self._hold_lock()
        moved = self._emptying.take() + self._settle() + self._grade()
        return moved + self._retention.enforce()

    def settle(self) -> int:
        """Bring every arrival into the index and its folder, and do nothing else."""
        self._hold_lock()
        total = 0
        while moved := self._settle():
            total += moved
        return total

    def close(self) -> None:
        """Let another line begin."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold_lock(self) -> None:
        if self._lock is not None:
            return
        descriptor = os.open(self._store.line_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(descriptor)
            raise EnvironmentFault("another gateway works on this store: stop it first") from fault
        self._lock = descriptor
        self._store.sweep(self._clock() - LEFT_BEHIND_SECONDS)
        self._vault.sweep()
        if self._register is not None:  # the index may be new, or older than the latest decision
            self._index.restate(self._register.standings)

    def _holds(self, received: str) -> bool:
        """Say whether a dataset of that digest is stored, durably, indexed or not yet."""
        # In this order: an arrival is in the index, and linked in its folder, before it leaves.
        if any(self._store.keeps(path, received) for path in self._store.arrived(-1)):
            return True
        filed = map(self._store.path, self._index.received(received))
        return any(self._store.keeps(path, received) for path in filed)

    def _settle(self) -> int:
        """Bring one batch of arrivals into the index, then into their folders."""
        batch, regrouped, aside = [], False, 0
        for path in self._store.arrived(BATCH + len(self._damaged)):
            arrived = self._read(path)
            if arrived is None:
                continue
            if self._pixel_look.can_read and self._glance.is_suspect(arrived.path, arrived.record):
                self._into_vault(arrived, SUSPECTED, quarantined=False)
                aside += 1
                continue
            held = self._index.path_of(arrived.names.sop)
            if held is not None and held != arrived.names.path:
                if not self._supersedes(arrived, held):
                    aside += 1
                    continue
                regrouped = True
            batch.append(arrived)
        if not batch:
            return aside
        facts = [arrived.facts for arrived in batch]
        notes = [self._witnessed(arrived, arrived.note) for arrived in batch if arrived.note]
        self._index.add(facts, at=self._clock(), regrouped=regrouped, notes=notes)
        self._take_labels(batch)
        moved = self._store.file_away([(a.path, a.inode, a.names) for a in batch])
        log.info("instances_indexed", count=moved)
        return moved + aside

    def _take_labels(self, batch: list[_Arrived]) -> None:
        """Keep what the batch's reference standards say, in place of what they said before."""
        standards = [arrived for arrived in batch if arrived.facts.sop_class_uid in CLASSES]
        if standards:
            labels = [label for arrived in standards for label in arrived.labels]
            add_labels(self._index, labels, [arrived.names.sop for arrived in standards])
            log.info("labels_read", objects=len(standards), labels=len(labels))

    def _labels_of(self, path: Path, facts: DeidFacts) -> tuple[Label, ...]:
        """Read a reference standard; one that cannot be read is kept, and gives no label."""
        if facts.sop_class_uid not in CLASSES:
            return ()
        try:
            return tuple(standard_of(path, facts.pseudonym_version))
        except IntegrityFault:
            self._audit.record("reference_standard_unreadable", file=path.name)
            return ()

    def _witnessed(self, arrived: _Arrived, note: Rejection) -> Rejection:
        self._audit.record(
            "instances_rejected",
            note=note.note,
            title=note.title,
            why=TITLES[note.title],
            count=len(note.rejected),
            sender=arrived.record.sender,
        )
        return note

    def _supersedes(self, arrived: _Arrived, held: str) -> bool:
        """Let a correction replace the version in another study or series (PS3.3 C.7.2).

        The old file goes before the index forgets where it lies; the new one is durable already.
        """
        try:
            record = self._store.record_of(self._store.path(held))
        except FileNotFoundError:
            return True  # removed in a pass that was cut short
        except IntegrityFault:
            self._audit.record("stored_file_damaged", file=Path(held).name)
            return True  # it stays where it is, and out of the index
        if compare(record, arrived.record) is Publication.CONFLICT:
            self._set_aside(arrived)
            return False
        self._store.remove(held)
        self._audit.record(
            "instance_superseded", sop=arrived.names.sop, sender=arrived.record.sender
        )
        return True

    def _read(self, path: Path) -> _Arrived | None:
        """Read an arrival's sealed record; one that does not open stays, and is reported."""
        try:
            found = path.stat()
            head = read_head(path)
            record = self._store.seal.open(head.sealed, head.sop_uid)
            is_document = record.facts.sop_class_uid == KEY_OBJECTS
            note = rejection_of(path) if is_document else None
            labels = self._labels_of(path, record.facts)
        except FileNotFoundError:
            return None
        except IntegrityFault:
            if path.name not in self._damaged:
                self._damaged.add(path.name)
                self._audit.record("stored_file_damaged", file=path.name)
            return None
        names = Names.of(record.facts)
        return _Arrived(path, found.st_ino, found.st_size, record, names, note, labels)

    def _set_aside(self, arrived: _Arrived) -> None:
        """Quarantine the second of two instances that share a UID and not their pixels."""
        entry = self._into_vault(arrived, OTHER_PIXELS, quarantined=True)
        self._audit.record("instance_quarantined", entry=entry, reason=OTHER_PIXELS.reason)

    def _into_vault(self, arrived: _Arrived, reason: Reason, *, quarantined: bool) -> str:
        """Seal an arrival, and let it go once that is durable."""
        original, facts = arrived.record.original, arrived.record.facts
        writer = self._vault.writer()
        try:
            writer.write(arrived.path.read_bytes())
            entry = writer.commit(
                Kept(
                    arrival=Arrival(
                        sop_class_uid=facts.sop_class_uid,
                        sop_instance_uid=original.sop_uid,
                        transfer_syntax_uid=facts.transfer_syntax_uid,
                        calling_ae=arrived.record.sender,
                        called_ae="",
                    ),
                    received_at=datetime.fromtimestamp(self._clock(), UTC),
                    received=arrived.record.received,
                    size_bytes=arrived.size,
                    reason=reason,
                    form="part10",
                ),
                quarantined=quarantined,
            )
        finally:
            writer.abort()
        self._store.let_go(arrived.path, arrived.inode, arrived.names)
        return entry

    def _grade(self) -> int:
        """Grade series that have been quiet for a while."""
        before = self._clock() - self._quiet_seconds
        series = self._index.quiet(before)
        for uid in series:
            graded = grade_of([self._store.path(p) for p in self._index.paths_of_series(uid)])
            self._index.grade(uid, graded.grade, graded.findings, before)
        return len(series)
