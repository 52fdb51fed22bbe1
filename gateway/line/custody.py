"""Custody: what the PACS was told was stored is never lost.

    Custody(store, vault, engine, header_limit_bytes=..., reserve_bytes=...)
        .begin(arrival) -> Incoming      ReserveReached before anything is written
    Incoming.write(chunk) ... .commit() -> Verdict | .abort()

On return of `commit` the instance is durable: STORED and DUPLICATE as its de-identified form or
sealed in the vault for the line, QUARANTINED sealed in the vault for an operator. Only REJECTED
keeps nothing (the dataset is not the instance its command named: PS3.4 B.2.3, 0xA900).
"""

from collections.abc import Callable
from datetime import UTC, datetime

from gateway.line.budget import HeaderMemory
from gateway.line.encoding import silence_pydicom
from gateway.line.incoming import Incoming
from gateway.line.terms import Audit, Engine, Means, Stream, Unaudited, Verdict, VerdictKind
from gateway.model import Arrival
from gateway.store.files import Store
from gateway.vault.vault import Vault

__all__ = ["Custody", "Incoming", "Verdict", "VerdictKind"]

HEADER_MEMORY_BYTES = 6 << 20


def _now() -> datetime:
    return datetime.now(UTC)


class Custody:
    """Takes instances over; safe to share between threads, and between processes by the disk."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        engine: Engine,
        *,
        header_limit_bytes: int,
        reserve_bytes: int,
        header_memory_bytes: int = HEADER_MEMORY_BYTES,
        audit: Audit | None = None,
        now: Callable[[], datetime] = _now,
        stream: Stream | None = None,
        count: Callable[[str], None] = lambda _event: None,
    ) -> None:
        silence_pydicom()
        self._means = Means(
            store=store,
            vault=vault,
            engine=engine,
            header_limit_bytes=header_limit_bytes,
            header_memory=HeaderMemory(header_memory_bytes),
            reserve_bytes=reserve_bytes,
            audit=audit or Unaudited(),
            now=now,
            stream=stream,
            count=count,
        )

    def begin(self, arrival: Arrival) -> Incoming:
        """Begin one C-STORE; ReserveReached while the disk is down to its reserve."""
        self._means.require_room(0)
        return Incoming(self._means, arrival)
