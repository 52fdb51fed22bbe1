"""The real path into the store: custody in both lanes, then the line."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.line.custody import Custody, VerdictKind
from gateway.line.worker import Line
from gateway.model import Arrival, RealUID
from gateway.store.files import Store
from gateway.store.index import Index
from gateway.vault.vault import Vault
from tests.fakes.custody_house import SEAL_KEY, VAULT_KEY, Trail, engine, stream_engine

engine, stream_engine = cache(engine), cache(stream_engine)


@dataclass(frozen=True)
class Fate:
    """What became of one instance."""

    lane: str  # express, vault, quarantine, rejected
    file: Path | None
    reason: str = ""


class House:
    """One gateway's custody in a directory."""

    def __init__(self, base: Path, profile: str = "research-strict") -> None:
        self.base = base
        self.trail = Trail()
        self.counted: Counter[str] = Counter()
        self.store, self.vault = Store(base / "store", SEAL_KEY), Vault(base / "vault", VAULT_KEY)
        self._engine = engine(profile)
        self._custody = Custody(
            self.store,
            self.vault,
            self._engine,
            header_limit_bytes=8 << 20,
            reserve_bytes=0,
            audit=self.trail,
            stream=stream_engine(profile),
            count=self._count,
        )
        self.index = Index.open(base / "index.db")
        self._line = Line(
            self.store, self.vault, self._engine, self.index, quiet_seconds=0.0, audit=self.trail
        )

    def _count(self, event: str) -> None:
        self.counted[event] += 1

    def take(
        self, sop_class: str, sop_uid: str, syntax: str, raw: bytes, chunk: int = 1 << 20
    ) -> Fate:
        before = set(self.store.files())
        entries = {entry.id for entry in self.vault.list()}
        incoming = self._custody.begin(
            Arrival(sop_class, RealUID(sop_uid), syntax, "PACS", "RADFED")
        )
        view = memoryview(raw)
        for at in range(0, len(view), chunk):
            incoming.write(view[at : at + chunk])
        verdict = incoming.commit()
        if verdict.kind is VerdictKind.REJECTED:
            return Fate("rejected", None, verdict.reason)
        while self._line.run_once():
            pass
        fresh = set(self.store.files()) - before
        if fresh:
            return Fate(
                "vault" if verdict.reason.startswith("in the vault") else "express",
                fresh.pop(),
                verdict.reason,
            )
        held = [entry for entry in self.vault.list() if entry.id not in entries]
        return (
            Fate("quarantine", None, f"{held[0].reason} {held[0].place}")
            if held
            else Fate("lost", None)
        )

    def close(self) -> None:
        self._line.close()
        self.index.close()
