"""Custody: what the PACS was told was stored is never lost.

    Custody(store, vault, engine, profile_digest=..., header_limit_bytes=..., reserve_bytes=...)
        .begin(arrival) -> Incoming      ReserveReached before anything is written
    Incoming.write(chunk) ... .commit() -> Verdict | .abort()

On return of `commit` the instance is durable: STORED and DUPLICATE as its de-identified form or
sealed in the vault for the line, QUARANTINED sealed in the vault for an operator. Only REJECTED
keeps nothing (the dataset is not the instance its command named: PS3.4 B.2.3, 0xA900).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from pydicom.dataset import Dataset

from gateway.deid.engine import Deidentified, Refusal
from gateway.durable import free_bytes
from gateway.errors import ReserveReached
from gateway.line.encoding import silence_pydicom
from gateway.model import Arrival
from gateway.store.files import Store
from gateway.vault.vault import Vault


class VerdictKind(StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"  # success to the PACS: it is in custody
    REJECTED = "rejected"  # the dataset contradicts its command: 0xA900


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: VerdictKind
    reason: str = ""  # names tags and codes, never a value of the patient's


class Engine(Protocol):
    """The de-identifier, as custody uses it."""

    def apply(self, dataset: Dataset, transfer_syntax_uid: str) -> Deidentified | Refusal: ...


class Audit(Protocol):
    """The trail, as custody uses it."""

    def record(self, event: str, **facts: str | float | bool | None) -> None: ...


class Unaudited:
    """For tools and tests: nothing is remembered."""

    def record(self, event: str, **facts: str | float | bool | None) -> None:
        """Forget it."""


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
        profile_digest: str,
        header_limit_bytes: int,
        reserve_bytes: int,
        audit: Audit | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        silence_pydicom()
        self.store = store
        self.vault = vault
        self.engine = engine
        self.profile = bytes.fromhex(profile_digest)
        self.header_limit_bytes = header_limit_bytes
        self.reserve_bytes = reserve_bytes
        self.audit = audit or Unaudited()
        self.now = now

    def begin(self, arrival: Arrival) -> "Incoming":
        """Begin one C-STORE; ReserveReached while the disk is down to its reserve."""
        from gateway.line.incoming import Incoming

        self.require_room(0)
        return Incoming(self, arrival)

    def require_room(self, bytes_to_come: int) -> None:
        """Refuse before the reserve is touched, not after."""
        if free_bytes(self.store.directory) - bytes_to_come < self.reserve_bytes:
            raise NoRoom


class NoRoom(ReserveReached):
    def __init__(self) -> None:
        super().__init__("the disk is down to its reserve: free some, or add more")
