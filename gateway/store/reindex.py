"""Rebuild the index from the files: they are the truth, it is a view of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.errors import IntegrityFault
from gateway.model import InstanceFacts, Pseudonym, PseudoUID
from gateway.store.files import Names, Store
from gateway.store.index import Index
from gateway.store.labels import Label, add_labels
from gateway.store.part10 import read_head
from gateway.store.rejection import KEY_OBJECTS, Rejection, rejection_of
from gateway.store.standards import CLASSES, standard_of
from gateway.store.standing import Standing

BATCH = 500
ALL_UIDS = "SELECT sop_uid FROM instance"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    instances: int
    forgotten: int  # rows whose files are gone
    opened: int  # files whose sealed record opens, arrivals too
    damaged: tuple[Path, ...]  # those whose does not

    @property
    def trusts_its_key(self) -> bool:
        """Tell damage from a wrong key: with that, little opens and nothing is forgotten."""
        return self.opened >= len(self.damaged)


def _nobody() -> Mapping[Pseudonym, Standing]:
    return {}


def reindex(
    store: Store,
    index: Index,
    at: float,
    known: Callable[[], Mapping[Pseudonym, Standing]] = _nobody,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rebuilt:
    """Bring every file in its folder into the index and forget what has none; repeatable.

    Arrivals are left to the line, unless they are damaged. Labels that no file holds stay.
    `known` is the register's word on patients; rejection notes speak for themselves.
    """
    index.restate(known)
    paths = list(settled(store))
    seen: set[PseudoUID] = set()
    arrivals = store.arrived(at_most=-1)
    damaged = [path for path in arrivals if not _opens(store, path)]
    opened = len(arrivals) - len(damaged)
    for start in range(0, len(paths), BATCH):
        batch, notes = _read(store, paths[start : start + BATCH], damaged)
        standards = [facts for facts in batch if facts.sop_class_uid in CLASSES]
        seen.update(facts.sop_uid for facts in batch)
        index.add(batch, at, notes=notes)
        add_labels(index, _labels(store, standards), [facts.sop_uid for facts in standards])
        progress(min(start + BATCH, len(paths)), len(paths))
    rebuilt = Rebuilt(len(seen), 0, opened + len(seen), tuple(damaged))
    if not rebuilt.trusts_its_key:
        return rebuilt
    gone = [PseudoUID(r["sop_uid"]) for r in index.read(ALL_UIDS) if r["sop_uid"] not in seen]
    index.forget(gone, at)
    index.drop_empty()
    return replace(rebuilt, forgotten=len(gone))


def _read(
    store: Store, paths: list[Path], damaged: list[Path]
) -> tuple[list[InstanceFacts], list[Rejection]]:
    """Read files for the index; those that do not open are added to the damaged."""
    batch: list[InstanceFacts] = []
    notes: list[Rejection] = []
    for path in paths:
        try:
            facts = facts_of(store, path)
            note = rejection_of(path) if facts.sop_class_uid == KEY_OBJECTS else None
        except IntegrityFault:
            damaged.append(path)
            continue
        batch.append(facts)
        notes += [note] if note else []
    return batch, notes


def _labels(store: Store, standards: list[InstanceFacts]) -> Iterator[Label]:
    for path in (store.path(facts.path) for facts in standards):
        with suppress(IntegrityFault, FileNotFoundError):
            yield from standard_of(path, store.record_of(path).facts.pseudonym_version)


def _opens(store: Store, path: Path) -> bool:
    try:
        store.record_of(path)
    except FileNotFoundError:
        return True
    except IntegrityFault:
        return False
    return True


def facts_of(store: Store, path: Path) -> InstanceFacts:
    """Read one row of the index from a file's sealed record."""
    found = read_head(path)
    record = store.seal.open(found.sealed, found.sop_uid)
    return record.facts.stored(
        size_bytes=path.stat().st_size,
        received_digest=record.received,
        path=Names.of(record.facts).path,
    )


def settled(store: Store) -> Iterator[Path]:
    return (path for path in store.files() if path.parent != store.arrivals.path)
