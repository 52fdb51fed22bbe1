"""The line's side of the vault: entry by entry, and heads by whole series."""

from collections.abc import Callable

import structlog

from gateway.line.face_wait import WaitingRoom
from gateway.line.pixel_look import LookInterrupted
from gateway.line.reference import SecondLook, Waiting
from gateway.model import PseudoUID
from gateway.vault.vault import Vault

log = structlog.get_logger()

VAULTED_AT_ONCE = 20  # a second look is slow: arrivals must not wait behind many


class Emptying:
    """Takes entries out of the vault, pass by pass."""

    def __init__(
        self,
        vault: Vault,
        second_look: SecondLook,
        heads: WaitingRoom,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        self._vault = vault
        self._second_look = second_look
        self._heads = heads
        self._clock = clock
        self._stopping = stopping

    def take(self) -> int:
        """Do one pass; return how many entries went a step further."""
        incoming = self._vault.incoming()
        self._heads.keep_only(entry for entry, _ in incoming)
        new = [(entry, cleared) for entry, cleared in incoming if entry not in self._heads]
        for entry, cleared in new[:VAULTED_AT_ONCE]:
            if self._stopping() or not self.settle(entry, cleared=cleared):
                return len(new)
        if len(new) > VAULTED_AT_ONCE:
            return VAULTED_AT_ONCE  # among those nobody has seen yet may be the rest of a series
        whole = list(self._heads.whole(self._clock()))
        return len(new) + sum(self._clean(series) for series in whole)

    def settle(self, entry: str, *, cleared: bool) -> bool:
        """Settle one, or let it wait; say whether to go on."""
        try:
            became = self._second_look.settle(entry, cleared=cleared)
        except LookInterrupted:
            return False
        if isinstance(became, Waiting):
            self._heads.seat(entry, became, cleared=cleared)
            return True
        outcome = "stored" if became is None else "quarantined"
        log.info("vault_entry_settled", entry=entry, outcome=outcome)
        return True

    def _clean(self, series: PseudoUID) -> int:
        """Remove the face from a whole series; cut short, the next pass goes on."""
        seated = self._heads.of(series)
        try:
            fault = self._second_look.survey([entry for entry, _ in seated], series)
        except LookInterrupted:
            return 0
        log.info("series_surveyed", slices=len(seated), found=fault is None)
        for done, (entry, cleared) in enumerate(seated):
            if self._stopping():
                return done
            if fault is not None:
                self._second_look.quarantine(entry, fault)
            elif not self.settle(entry, cleared=cleared):
                return done
            self._heads.leave(entry)
        return len(seated)
