"""Rebuild the index from the files: they are the truth, it is a view of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import IntegrityFault
from gateway.model import InstanceFacts, PseudoUID
from gateway.store.files import Names, Store
from gateway.store.index import Index
from gateway.store.part10 import read_head

BATCH = 500
ALL_UIDS = "SELECT sop_uid FROM instance"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    instances: int
    forgotten: int  # rows whose files are gone
    damaged: tuple[str, ...]  # files whose sealed record does not open, by name


def reindex(store: Store, index: Index, at: float) -> Rebuilt:
    """Bring every file in its folder into the index and forget what has none; repeatable.

    Arrivals are left to the line. Labels stay: no file holds them.
    """
    seen: set[PseudoUID] = set()
    damaged: list[str] = []
    batch: list[InstanceFacts] = []
    for path in settled(store):
        try:
            facts = facts_of(store, path)
        except IntegrityFault:
            damaged.append(path.name)
            continue
        seen.add(facts.sop_uid)
        batch.append(facts)
        if len(batch) == BATCH:
            index.add(batch, at)
            batch = []
    index.add(batch, at)
    gone = [PseudoUID(r["sop_uid"]) for r in index.read(ALL_UIDS) if r["sop_uid"] not in seen]
    index.forget(gone)
    index.drop_empty()
    return Rebuilt(len(seen), len(gone), tuple(damaged))


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
