"""The words of custody: what it is built from and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydicom.dataset import Dataset

from gateway.deid.engine import Deidentified, Refusal
from gateway.deid.facts import DeidFacts
from gateway.deid.spare import Layout
from gateway.deid.stream import NotUnderstood, Streamed
from gateway.durable import free_bytes
from gateway.errors import ReserveReached
from gateway.line.budget import HeaderMemory
from gateway.model import Original
from gateway.store.files import Store
from gateway.vault.vault import Vault

WHOLE_BYTES = 1 << 30


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


class Stream(Protocol):
    """The engine that works on a header's bytes."""

    def apply(self, header: bytes, transfer_syntax_uid: str) -> Streamed | NotUnderstood: ...


class Audit(Protocol):
    """The trail, as custody uses it."""

    def record(self, event: str, **facts: str | float | bool | None) -> None: ...


class Unaudited:
    """For tools and tests: nothing is remembered."""

    def record(self, event: str, **facts: str | float | bool | None) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A header as it will be stored, by whichever engine, and what is known of its instance."""

    header: bytes
    original: Original
    facts: DeidFacts
    spare: Layout | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What arrived, once it has arrived whole."""

    digest: bytes  # keyed, of every byte of the dataset
    size: int


@dataclass(frozen=True, slots=True)
class Means:
    """What custody works with."""

    store: Store
    vault: Vault
    engine: Engine
    header_limit_bytes: int
    header_memory: HeaderMemory
    reserve_bytes: int
    audit: Audit
    now: Callable[[], datetime]
    stream: Stream | None = None  # asked first; the engine decides what it does not understand
    count: Callable[[str], None] = lambda _event: None
    whole_bytes_at_most: int = WHOLE_BYTES  # a longer dataset is not read whole

    def require_room(self, bytes_to_come: int) -> None:
        """Refuse before the reserve is touched, not after."""
        if free_bytes(self.store.directory) - bytes_to_come < self.reserve_bytes:
            raise NoRoom


class NoRoom(ReserveReached):
    def __init__(self) -> None:
        super().__init__("the disk is down to its reserve: free some, or add more")


class Lane(Protocol):
    """Takes bytes in order and answers for the whole."""

    def take(self, *views: memoryview) -> "Lane":
        """Take bytes, in this order; return the lane that takes the next."""
        ...

    def finish(self, receipt: Receipt) -> Verdict:
        """Answer for the whole dataset, durably."""
        ...

    def abort(self) -> None:
        """Leave nothing; harmless when repeated."""
        ...
