"""Vendors' bits and looks as one account: what checkpoints tell of it, and a restore waits for."""

from dataclasses import dataclass
from datetime import datetime

from gateway.app.build import build_policy
from gateway.app.outbound import build_locked_sets
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.desk.locked_sets import LockedSets
from gateway.notary import Spent
from gateway.release.bits import BitsLedger


@dataclass(frozen=True, slots=True)
class SpentBooks:
    bits: BitsLedger
    sets: LockedSets

    def spent(self) -> Spent:
        return Spent(self.bits.milli_bits(), *self.sets.counts())

    def put_back(self) -> None:
        self.bits.put_back()
        self.sets.put_back()

    def waiting_since(self) -> datetime | None:
        """Return when a backup was put in place that either book waits for; None for neither."""
        waits = (self.bits.waiting_since(), self.sets.waiting_since())
        return max(filter(None, waits), default=None)

    def reconcile(self, spent: Spent, by: str) -> Spent:
        """Charge and burn what is missing; return what that was."""
        return Spent(
            self.bits.reconcile(spent.milli_bits, by),
            *self.sets.reconcile(spent.looks, spent.trained, by),
        )

    def close(self) -> None:
        self.bits.close()
        self.sets.close()


def open_spent(config: GatewayConfig, audit: AuditTrail) -> SpentBooks:
    sets = build_locked_sets(config, build_policy(config), audit)
    return SpentBooks(BitsLedger.open(config.bits_file), sets)
