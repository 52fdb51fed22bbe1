"""The privacy ledger: what was spent in a year, by whom, and the answers it bought (zCDP)."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from hashlib import sha256
from math import ceil
from pathlib import Path
from threading import Lock

from gateway.cohort.noise import Bits, discrete_gaussian, seed
from gateway.cohort.turns import SCHEMA_OF_TURNS, Turns

NANO = 10**9  # budgets are kept in whole nano-rho, rounded against the asker
SCHEMA = """
    CREATE TABLE IF NOT EXISTS spent (
        question  BLOB NOT NULL,  -- SHA-256 of the canonical form
        epoch     TEXT NOT NULL,
        year      INTEGER NOT NULL,
        requester TEXT NOT NULL,
        nano_rho  INTEGER NOT NULL,
        at        TEXT NOT NULL,
        PRIMARY KEY (question, epoch)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS answered (
        question BLOB NOT NULL,
        epoch    TEXT NOT NULL,
        sigma    TEXT NOT NULL,
        nano_rho INTEGER NOT NULL,
        cells    TEXT NOT NULL,  -- JSON: [[label...], noisy count] for every cell
        PRIMARY KEY (question, epoch)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS restored (  -- one row for each time a backup was put in place
        at         TEXT NOT NULL,
        reconciled TEXT  -- by what; NULL: nothing may be spent yet
    ) STRICT;
"""
LOST = ""  # stands for every requester: nobody knows any more whose question it was
SPENT_ON = "SELECT 1 FROM spent WHERE question = ? AND epoch = ?"
SPENT = "SELECT coalesce(sum(nano_rho), 0) FROM spent WHERE year = ?"
SPENT_BY = """
    SELECT coalesce(sum(nano_rho), 0) FROM spent WHERE year = ? AND requester IN (?, '')
"""
SPEND = "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?)"
SPENDERS = """
    SELECT requester, sum(nano_rho), count(*) FROM spent WHERE year = ?
    GROUP BY requester ORDER BY requester
"""
STORED = "SELECT sigma, nano_rho, cells FROM answered WHERE question = ? AND epoch = ?"
STORE = "INSERT INTO answered VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
RESTORED = "INSERT INTO restored VALUES (?, NULL)"
WAITS = "SELECT max(at) FROM restored WHERE reconciled IS NULL"
RECONCILED = "UPDATE restored SET reconciled = ? WHERE reconciled IS NULL"
TIMES = "SELECT count(*) FROM restored"

Cells = Mapping[tuple[str, ...], int]
NoiseKeys = bytes | Callable[[int], bytes]  # one that never turned, or that of each version


@dataclass(frozen=True, slots=True)
class Price:
    """What a new answer costs, and what limits it."""

    rho: Fraction
    site_budget: Fraction
    requester_budget: Fraction


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget would be passed; `rule` is the closed word."""

    rule: str


@dataclass(frozen=True, slots=True)
class NoisyCounts:
    cells: Cells
    sigma: Fraction
    rho: Fraction
    epoch: str


class PrivacyLedger:
    """Charges first, computes after, and answers the same question once in an epoch."""

    def __init__(
        self, connection: sqlite3.Connection, noise_keys: NoiseKeys, now: Callable[[], datetime]
    ) -> None:
        self._connection = connection
        self._noise_keys = noise_keys
        self.turns = Turns(connection)
        self._now = now
        self._lock = Lock()

    @classmethod
    def open(
        cls,
        path: Path,
        noise_keys: NoiseKeys,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "PrivacyLedger":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA + SCHEMA_OF_TURNS)
        return cls(connection, noise_keys, now)

    def answer(
        self,
        question: bytes,
        requester: str,
        price: Price,
        sigma: Fraction,
        count: Callable[[], Cells],
    ) -> NoisyCounts | Exhausted:
        """Replay this epoch's answer; else charge, and only then count and add noise."""
        epoch = self.epoch
        with self._lock:
            if (stored := self._stored(question, epoch)) is not None:
                return stored
            if (exhausted := self._charge(question, epoch, requester, price)) is not None:
                return exhausted
            return self._draw(question, epoch, price.rho, sigma, count())

    def public(
        self,
        charged: tuple[bytes, str],
        price: Price,
        sigma: Fraction,
        tables: Mapping[bytes, tuple[Fraction, Callable[[], Cells]]],
        wanted: bytes,
    ) -> NoisyCounts | Exhausted:
        """Replay one of the epoch's public tables; else charge for all, and make all of them."""
        epoch = self.epoch
        with self._lock:
            if (stored := self._stored(wanted, epoch)) is not None:
                return stored
            if (exhausted := self._charge(charged[0], epoch, charged[1], price)) is not None:
                return exhausted
            for table, (rho, count) in tables.items():
                if self._stored(table, epoch) is None:
                    self._draw(table, epoch, rho, sigma, count())
            stored = self._stored(wanted, epoch)
            assert stored is not None
            return stored

    def side_count(
        self, what: str, requester: str, price: Price, sigma: Fraction, true: int
    ) -> int | Exhausted:
        """Answer one number that is not a question (a job's patients), charged like one."""
        name = sha256(b"radfed side count v1\n" + what.encode()).digest()
        found = self.answer(name, requester, price, sigma, lambda: {(): true})
        return found if isinstance(found, Exhausted) else found.cells[()]

    @property
    def epoch(self) -> str:
        """Return the snapshot's name: the quarter in which the answer is first given."""
        now = self._now()
        return f"{now.year}Q{(now.month + 2) // 3}"

    @property
    def today(self) -> date:
        return self._now().date()

    def spent(self, year: int) -> Fraction:
        return Fraction(self._connection.execute(SPENT, (year,)).fetchone()[0], NANO)

    def spenders(self, year: int) -> dict[str, tuple[Fraction, int]]:
        """Return each requester's rho and number of answers in a year."""
        rows = self._connection.execute(SPENDERS, (year,)).fetchall()
        return {requester: (Fraction(nano, NANO), answers) for requester, nano, answers in rows}

    @property
    def year(self) -> int:
        return self._now().year

    def put_back(self) -> None:
        """Say that this is a backup: nothing is spent until it is known what was spent since."""
        with self._lock, self._connection:
            self._connection.execute(RESTORED, (self._now().isoformat(),))

    def waiting_since(self) -> datetime | None:
        """Return when a backup was put in place that was not reconciled; None where none was."""
        (at,) = self._connection.execute(WAITS).fetchone()
        return None if at is None else datetime.fromisoformat(at)

    def spent_nano(self, year: int) -> int:
        return int(self._connection.execute(SPENT, (year,)).fetchone()[0])

    def reconcile(self, year: int, nano_rho: int, by: str) -> int:
        """Charge what was spent and is not in here; return how much that was, in nano-rho.

        It counts against the site and against each requester. What was answered meanwhile is
        forgotten, so the same noise may never meet data that moved: another restoration, another
        seed.
        """
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            missing = max(0, nano_rho - self.spent_nano(year))
            at = self._now().isoformat()
            if missing:
                if self.waiting_since() is None:
                    self._connection.execute(RESTORED, (at,))  # nobody said that it was one
                name = sha256(f"radfed lost v1 {at} {missing}".encode()).digest()
                row = (name, f"{year}Q0", year, LOST, missing, at)
                self._connection.execute(SPEND, row)
            self._connection.execute(RECONCILED, (by,))
        return missing

    def close(self) -> None:
        self._connection.close()

    def _charge(
        self, question: bytes, epoch: str, requester: str, price: Price
    ) -> Exhausted | None:
        """Spend, durably; a question charged before a crash is not charged again."""
        year, cost = int(epoch[:4]), _nano(price.rho)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self.waiting_since() is not None:
                return Exhausted("ledger_unreconciled")
            if self._connection.execute(SPENT_ON, (question, epoch)).fetchone():
                return None
            (site,) = self._connection.execute(SPENT, (year,)).fetchone()
            (asker,) = self._connection.execute(SPENT_BY, (year, requester)).fetchone()
            if site + cost > int(price.site_budget * NANO):
                return Exhausted("site_budget")
            if asker + cost > int(price.requester_budget * NANO):
                return Exhausted("requester_budget")
            at = self._now().isoformat()
            self._connection.execute(SPEND, (question, epoch, year, requester, cost, at))
        return None

    def _draw(
        self, question: bytes, epoch: str, rho: Fraction, sigma: Fraction, cells: Cells
    ) -> NoisyCounts:
        """Add noise under the newest key, store, and return what is stored.

        Another process may have drawn the same question, under a key that was turned since, or
        over data that moved: the first one stored is the epoch's only answer.
        """
        key, when = self._key(), self._when(epoch)
        noisy = {
            cell: true + discrete_gaussian(sigma, Bits(seed(key, question, when, cell)))
            for cell, true in cells.items()
        }
        self._store(question, NoisyCounts(noisy, sigma, Fraction(_nano(rho), NANO), epoch))
        stored = self._stored(question, epoch)
        assert stored is not None
        return stored

    def _key(self) -> bytes:
        keys = self._noise_keys
        return keys if isinstance(keys, bytes) else keys(self.turns.newest())

    def _when(self, epoch: str) -> str:
        (times,) = self._connection.execute(TIMES).fetchone()
        return f"{epoch}/{times}" if times else epoch

    def _stored(self, question: bytes, epoch: str) -> NoisyCounts | None:
        row = self._connection.execute(STORED, (question, epoch)).fetchone()
        if row is None:
            return None
        cells = {tuple(labels): noisy for labels, noisy in json.loads(row[2])}
        return NoisyCounts(cells, Fraction(row[0]), Fraction(row[1], NANO), epoch)

    def _store(self, question: bytes, answer: NoisyCounts) -> None:
        cells = json.dumps([[list(labels), noisy] for labels, noisy in answer.cells.items()])
        row = (question, answer.epoch, str(answer.sigma), int(answer.rho * NANO), cells)
        self._connection.execute(STORE, row)


def _nano(rho: Fraction) -> int:
    return ceil(rho * NANO)
