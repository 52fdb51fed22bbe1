"""The bits ledger: what each vendor's jobs can have carried out of each data set, for ever."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from gateway.release.restored import Restorations
from protos.update_price import epsilon

# One row for each thing that left, named so that a repeat of the same thing is the same row.
SCHEMA = """
    CREATE TABLE IF NOT EXISTS charge (
        reference TEXT PRIMARY KEY,
        vendor    TEXT NOT NULL,
        dataset   TEXT NOT NULL,
        bits      REAL NOT NULL,  -- negative: no leakage bound
        rho       REAL NOT NULL,  -- of one patient replaced (zCDP); negative: without noise
        at        TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS charge_vendor ON charge (vendor, dataset);
"""
LOST = ""  # stands for every vendor: nobody knows any more whose bits they were
SPENT = "SELECT COALESCE(SUM(MAX(bits, 0)), 0) FROM charge WHERE vendor IN (?, '')"
SPENT_BY_ALL = "SELECT COALESCE(SUM(MAX(bits, 0)), 0) FROM charge"
KNOWN = "SELECT 1 FROM charge WHERE reference = ?"
CHARGE = "INSERT INTO charge VALUES (?, ?, ?, ?, ?, ?)"
ACCOUNTS = """
    SELECT vendor, dataset, COUNT(*), SUM(MAX(bits, 0)), SUM(bits < 0), SUM(MAX(rho, 0)),
           SUM(rho < 0)
    FROM charge GROUP BY vendor, dataset ORDER BY vendor, dataset
"""
UNKNOWN = "(lost with a backup)"


@dataclass(frozen=True, slots=True)
class Account:
    """What one vendor's jobs can have carried out of one data set."""

    vendor: str
    dataset: str
    charges: int
    bits: float
    unbounded: int  # releases without a leakage bound, which no sum can hold
    rho: float  # of the noised updates, of one patient replaced
    epsilon: float  # the same as (epsilon, DELTA)-DP
    exact: int  # statistics without noise: outside differential privacy


@dataclass(frozen=True, slots=True)
class Charge:
    """One thing that leaves: by what name, whose, out of which data, and how much at the most."""

    reference: str
    vendor: str
    dataset: str
    bits: float
    rho: float = 0.0


class BitsLedger:
    """Charges are durable before what they pay for leaves; nothing gives them back."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._now = now
        self._lock = Lock()
        self._restored = Restorations(connection)

    @classmethod
    def open(
        cls, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> "BitsLedger":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        return cls(connection, now)

    def charge(self, charge: Charge, at_most: float) -> bool:
        """Charge once, or say that the vendor's bound over all its jobs would be passed."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._connection.execute(KNOWN, (charge.reference,)).fetchone():
                return True
            if self._restored.waiting_since() is not None:
                return False
            (spent,) = self._connection.execute(SPENT, (charge.vendor,)).fetchone()
            if spent + max(charge.bits, 0.0) > at_most:
                return False
            row = (charge.reference, charge.vendor, charge.dataset, charge.bits, charge.rho)
            self._connection.execute(CHARGE, (*row, self._now().isoformat()))
        return True

    def spent(self, vendor: str) -> float:
        with self._lock:
            return float(self._connection.execute(SPENT, (vendor,)).fetchone()[0])

    def put_back(self) -> None:
        """Say that this is a backup: nothing is charged until it is known what was."""
        with self._lock:
            self._restored.put_back(self._now())

    def waiting_since(self) -> datetime | None:
        """Return when a backup was put in place that was not reconciled; None where none was."""
        with self._lock:
            return self._restored.waiting_since()

    def milli_bits(self) -> int:
        """Return what all vendors' jobs can have carried out, in thousandths of a bit."""
        with self._lock:
            return self._milli_bits()

    def reconcile(self, milli_bits: int, by: str) -> int:
        """Charge every vendor what was charged and is not in here; return how much that was."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            missing = max(0, milli_bits - self._milli_bits())
            if missing:
                at = self._now().isoformat()
                row = (f"lost {at} {missing}", LOST, LOST, missing / 1000, 0.0, at)
                self._connection.execute(CHARGE, row)
            self._restored.reconciled(by)
        return missing

    def _milli_bits(self) -> int:
        return int(self._connection.execute(SPENT_BY_ALL).fetchone()[0] * 1000)

    def accounts(self) -> list[Account]:
        with self._lock:
            rows = self._connection.execute(ACCOUNTS).fetchall()
        return [
            Account(vendor or UNKNOWN, data, count, bits, free, rho, epsilon(rho), exact)
            for vendor, data, count, bits, free, rho, exact in rows
        ]

    def close(self) -> None:
        self._connection.close()
