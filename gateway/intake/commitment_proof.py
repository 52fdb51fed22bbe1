"""Finding the copy of an instance that a sender asks about, and reading all of it again."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

from gateway.errors import GatewayError, IntegrityFault
from gateway.intake.commitment import Reference
from gateway.intake.commitment_rules import Copy, Finding
from gateway.model import PseudoUID, RealUID
from gateway.store.files import SUFFIX, Store
from gateway.store.soundness import prove
from gateway.vault.vault import Vault

LOOKS: Final = 3  # the line may move a file while it is looked for


class Paths(Protocol):
    """The index, as far as it is asked here."""

    def path_of(self, sop_uid: PseudoUID) -> str | None: ...


class Proof:
    """Finds the copy of a referenced instance, and proves it."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        index: Paths,
        file_uids: Callable[[RealUID], Sequence[PseudoUID]],
    ) -> None:
        """Take where copies may be, and under which names, today's first."""
        self._store = store
        self._vault = vault
        self._index = index
        self._file_uids = file_uids
        self._labels: dict[str, RealUID] = {}  # vault entry -> whose it is; entries never change
        self._waiting: frozenset[RealUID] = frozenset()
        self._quarantined: frozenset[RealUID] = frozenset()

    def look_into_vault(self) -> None:
        """Remember whose instances are sealed now; `examine` goes by that."""
        entries = self._vault.entries()
        labels = {}
        for entry in entries:
            try:
                labels[entry] = self._labels.get(entry) or self._owner(entry)
            except (GatewayError, OSError):
                continue  # settled meanwhile, or damaged: nobody's for now
        self._labels = labels
        self._waiting = frozenset(u for e, u in labels.items() if not entries[e])
        self._quarantined = frozenset(u for e, u in labels.items() if entries[e])

    def examine(self, reference: Reference) -> Finding:
        """Say what is known of an instance; reads its copy whole."""
        copy, sop_class = self._copy(reference)
        return Finding(
            copy,
            sop_class,
            unsettled=reference.instance in self._waiting,
            quarantined=reference.instance in self._quarantined,
        )

    def _owner(self, entry: str) -> RealUID:
        with self._vault.open(entry) as (kept, _):
            return kept.arrival.sop_instance_uid

    def _copy(self, reference: Reference) -> tuple[Copy, str]:
        names = self._file_uids(reference.instance)
        for _ in range(LOOKS):
            for path in chain.from_iterable(map(self._places, names)):
                try:
                    return self._proven(path, reference)
                except FileNotFoundError:
                    continue
                except IntegrityFault:
                    return Copy.DOUBTFUL, reference.sop_class
        return Copy.ABSENT, ""

    def _places(self, sop: PseudoUID) -> Iterator[Path]:
        yield self._store.arrivals.path / (sop + SUFFIX)
        if (relative := self._index.path_of(sop)) is not None:
            yield self._store.path(relative)

    def _proven(self, path: Path, reference: Reference) -> tuple[Copy, str]:
        record, sound = prove(self._store, path)
        if record.original.sop_uid.strip("\0 ") != reference.instance:
            sound = False
        return (Copy.SOUND if sound else Copy.DOUBTFUL), record.facts.sop_class_uid
