"""Everything that was acknowledged, read again: stored files, the index of them, the vault."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit, build_secret, build_store, build_vault
from gateway.app.process import harden, only_one
from gateway.config import GatewayConfig
from gateway.errors import GatewayError, IntegrityFault
from gateway.line.damage import CHANGED, MISPLACED, SEAL_BROKEN, set_aside
from gateway.model import PseudoUID
from gateway.store.files import Store
from gateway.store.index import Index
from gateway.store.reindex import settled
from gateway.store.soundness import is_in_place, prove
from gateway.vault.entry import Reason
from gateway.vault.vault import NoSuchEntry, Vault

INDEXED = "SELECT sop_uid, path FROM instance"
PACS = "send their studies again from the PACS"
ADVICE = {
    "damaged": f"stop the gateway, run `radfed gateway verify --set-aside`, then {PACS}",
    "missing": f"{PACS} (`radfed gateway reidentify` says whose they are), or restore a backup; "
    "`radfed gateway reindex` forgets them",
    "unindexed": "stop the gateway and run `radfed gateway reindex`",
    "vault_damaged": "`radfed gateway quarantine ls` shows them: restore the vault from a backup, "
    "or drop them and have the PACS send again",
    "index_damaged": "stop the gateway and run `radfed gateway reindex`",
}
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Found:
    """What is not as it was stored, by name: every name here is a pseudonym."""

    files: int = 0
    damaged: dict[Path, Reason] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unindexed: list[str] = field(default_factory=list)
    vault: int = 0
    vault_damaged: list[str] = field(default_factory=list)
    index_damaged: bool = False

    @property
    def trusts_its_key(self) -> bool:
        """Tell damage from a wrong key: with that, little opens (as `reindex` tells it)."""
        sealed_shut = sum(why is SEAL_BROKEN for why in self.damaged.values())
        return sealed_shut <= self.files - sealed_shut


def verify(
    config: GatewayConfig, by: str, progress: Progress, *, aside: bool = False
) -> dict[str, Any]:
    """Read all that is held; `aside` moves what is damaged to quarantine, the gateway stopped."""
    harden(config.run_as)
    secret = build_secret(config)
    store, vault = build_store(config, secret), build_vault(config, secret)
    with only_one(config.run_dir / "lock") if aside else nullcontext():
        found = _look(config, store, vault, progress)
        moved = _set_aside(config, store, vault, found) if aside else []
        with closing(build_audit(config)) as audit:
            audit.record("store_verified", by=by, files=found.files, damaged=len(found.damaged))
    document: dict[str, Any] = {
        "files": found.files,
        "damaged": sorted(str(path.relative_to(store.directory)) for path in found.damaged),
        "missing": found.missing,
        "unindexed": found.unindexed,
        "vault": found.vault,
        "vault_damaged": found.vault_damaged,
        "index_damaged": found.index_damaged,
        "quarantined": moved,
    }
    left = document | ({"damaged": []} if aside else {})
    return document | {"advice": {name: says for name, says in ADVICE.items() if left[name]}}


def _look(config: GatewayConfig, store: Store, vault: Vault, progress: Progress) -> Found:
    found = Found()
    paths, entries = list(store.files()), list(vault.entries())
    total = len(paths) + len(entries)
    for done, path in enumerate(paths, 1):
        _look_at(store, path, found)
        progress(done, total)
    for done, entry in enumerate(entries, len(paths) + 1):
        _look_into(vault, entry, found)
        progress(done, total)
    try:
        found.missing, found.unindexed = _differences(config.index_file, store)
    except sqlite3.DatabaseError:
        found.index_damaged = True
    return found


def _look_at(store: Store, path: Path, found: Found) -> None:
    try:
        record, sound = prove(store, path)
    except FileNotFoundError:
        return  # the line moved or superseded it meanwhile, each durably
    except IntegrityFault:
        found.damaged[path] = SEAL_BROKEN
    else:
        if not sound:
            found.damaged[path] = CHANGED
        elif not is_in_place(store, path, record):
            found.damaged[path] = MISPLACED
    found.files += 1


def _look_into(vault: Vault, entry: str, found: Found) -> None:
    try:
        with vault.open(entry) as (kept, chunks):
            whole = sum(map(len, chunks)) == kept.size_bytes
    except NoSuchEntry:
        return  # settled, or dropped, meanwhile
    except GatewayError:
        whole = False
    found.vault += 1
    if not whole:
        found.vault_damaged.append(entry)


def _differences(index: Path, store: Store) -> tuple[list[str], list[str]]:
    """Return rows without a file, and settled files without a row: at both of two looks."""
    if not index.exists():
        return [], sorted(_settled(store))
    missing, unindexed = _once(index, store)
    if missing or unindexed:  # the line may have been at work in between
        again = _once(index, store)
        missing, unindexed = missing & again[0], unindexed & again[1]
    return sorted(missing), sorted(unindexed)


def _once(index: Path, store: Store) -> tuple[set[str], set[str]]:
    files = set(_settled(store))
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as still:
        rows = {str(path) for _, path in still.execute(INDEXED)}
    return {path for path in rows - files if not store.path(path).exists()}, files - rows


def _settled(store: Store) -> Iterator[str]:
    return (str(path.relative_to(store.directory)) for path in settled(store))


def _set_aside(config: GatewayConfig, store: Store, vault: Vault, found: Found) -> list[str]:
    """Quarantine what is damaged, and let the index forget it: a resend is stored again."""
    if not found.trusts_its_key:
        raise IntegrityFault(
            "most seals do not open: this is hardly the key they were made with; restore "
            "keys/site.secret from its escrow, then try again"
        )
    if not found.damaged:
        return []
    now, gone = datetime.now(UTC), {str(p.relative_to(store.directory)) for p in found.damaged}
    with closing(build_audit(config)) as audit:
        moved = [
            set_aside(store, vault, path, audit, now, why) for path, why in found.damaged.items()
        ]
    if not found.index_damaged:
        with closing(Index.open(config.index_file)) as index:
            rows = [PseudoUID(r["sop_uid"]) for r in index.read(INDEXED) if r["path"] in gone]
            index.forget(rows, time.time())
            index.drop_empty()
    return moved
