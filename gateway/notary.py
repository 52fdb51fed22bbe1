"""The notary: signs where this house's chains are, and keeps what the coordinator signed of its."""

import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.audit import AuditTrail
from gateway.cohort.privacy import PrivacyLedger
from gateway.release.ledger import Ledger
from protos.checkpoint import (
    FAULTS,
    TAKEN,
    Finding,
    is_signed,
    judge,
    sign_checkpoint,
    sign_spending,
    tells_spending,
)
from protos.v1.link_pb2 import Checkpoint, CheckpointExchange

SCHEMA = """
    CREATE TABLE IF NOT EXISTS own (
        number   INTEGER PRIMARY KEY,
        day      TEXT NOT NULL,
        trail    INTEGER,  -- the entry of the trail it stands at; NULL where a backup lost it
        ledger   INTEGER,  -- and of the egress ledger
        body     BLOB NOT NULL,  -- radfed.v1.Checkpoint
        is_known INTEGER NOT NULL DEFAULT 0  -- the one the coordinator last said it keeps
    ) STRICT;
    CREATE TABLE IF NOT EXISTS kept (  -- the coordinator's: the newest of each day
        day  TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS fault (
        at      TEXT NOT NULL,
        whose   TEXT NOT NULL,  -- gateway | coordinator
        finding TEXT NOT NULL,
        number  INTEGER NOT NULL
    ) STRICT;
"""
NEWEST = "SELECT number FROM own ORDER BY number DESC LIMIT 1"
OWN = "SELECT trail, ledger, body FROM own WHERE number = ?"
OWNS = "SELECT number, trail, body FROM own WHERE trail IS NOT NULL ORDER BY number"
MARKS = "SELECT ledger, body FROM own WHERE ledger > 0"
ADD = "INSERT INTO own VALUES (?, ?, ?, ?, ?, 0)"
THIN = "DELETE FROM own WHERE day = ? AND is_known = 0 AND number < ?"
KNOWN = "SELECT number, trail FROM own WHERE is_known = 1 ORDER BY number DESC LIMIT 1"
LEARN = """
    INSERT INTO own VALUES (?1, ?2, ?3, ?4, ?5, 1)
        ON CONFLICT (number) DO UPDATE
        SET trail = excluded.trail, ledger = excluded.ledger, body = excluded.body, is_known = 1
"""
FORGET = "UPDATE own SET is_known = 0 WHERE is_known = 1 AND number <> ?"
KEPT = "SELECT body FROM kept ORDER BY day DESC LIMIT 1"
ALL_KEPT = "SELECT body FROM kept ORDER BY day"
KEEP = "INSERT INTO kept VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET body = excluded.body"
FAULT = "INSERT INTO fault VALUES (?, ?, ?, ?)"
FAULTS_FOUND = "SELECT at, whose, finding, number FROM fault ORDER BY rowid"

LARGEST = 2**63 - 1
AGAIN = timedelta(minutes=1)  # the same finding is an event once in it, whoever floods us

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was wrong with a chain when checkpoints were exchanged."""

    at: str
    whose: str
    finding: str
    number: int

    def is_alike(self, whose: str, finding: str) -> bool:
        return (self.whose, self.finding) == (whose, finding)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a backup must not give back, beside the privacy budget."""

    milli_bits: int
    looks: int
    trained: int


class Spending(Protocol):
    """The books of vendors' bits and of looks, as far as checkpoints cover them."""

    def spent(self) -> Spent: ...
    def waiting_since(self) -> datetime | None: ...
    def reconcile(self, spent: Spent, by: str) -> Spent: ...


class Notary:
    """Makes a checkpoint whenever it speaks; what does not fit is on the trail at once."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        house: str,
        coordinator: str,
        key: Ed25519PrivateKey,
        trail: AuditTrail,
        ledger: Ledger,
        privacy: PrivacyLedger,
        now: Callable[[], datetime],
        *,
        spending: Spending | None = None,
    ) -> None:
        self._connection = connection
        self._house = house
        self._coordinator = coordinator
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._trail = trail
        self._ledger = ledger
        self._privacy = privacy
        self._spending = spending
        self._now = now
        self._lock = Lock()
        self._said = (0, 0)  # the last statement's own number, and the former one it named

    @classmethod
    def open(
        cls,
        path: Path,
        site: str,
        federation: str,
        key: Ed25519PrivateKey,
        trail: AuditTrail,
        ledger: Ledger,
        privacy: PrivacyLedger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        spending: Spending | None = None,
    ) -> "Notary":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = open_book(path)
        house, coordinator = f"gateway/{site}", f"coordinator/{federation}"
        return cls(
            connection, house, coordinator, key, trail, ledger, privacy, now, spending=spending
        )

    def statement(self) -> CheckpointExchange:
        """Sign where the chains are now, and say which former one the coordinator can check."""
        with self._lock:
            own = self._make()
            known, at = self._connection.execute(KNOWN).fetchone() or (0, None)
            said = CheckpointExchange(own=own, former_number=known)
            if at is not None:
                said.former_link = self._trail.link_at(at)
            if (kept := self._kept()) is not None:
                said.kept.CopyFrom(kept)
            self._said = own.number, known
            return said

    def hear(self, said: CheckpointExchange) -> bool:
        """Check what the coordinator says; return whether there is something to say to it."""
        with self._lock:
            self._judge(said)
            if not said.HasField("kept"):
                return False
            self._recognise(said.kept)
            return said.kept.number not in self._said

    def _make(self) -> Checkpoint:
        at, link = self._trail.head()
        ledger_at, ledger_link = self._ledger.head()
        year = self._privacy.year
        (last,) = self._connection.execute(NEWEST).fetchone() or (0,)
        now = self._now()
        own = Checkpoint(
            house=self._house,
            number=last + 1,
            link=link,
            at=Timestamp(seconds=int(now.timestamp())),
            ledger_link=ledger_link,
            year=year,
            spent_nano_rho=self._privacy.spent_nano(year),
        )
        if self._spending is not None:
            spent = self._spending.spent()
            own.milli_bits, own.looks, own.trained = spent.milli_bits, spent.looks, spent.trained
            sign_spending(own, self._key)
        body = sign_checkpoint(own, self._key).SerializeToString(deterministic=True)
        day = now.date().isoformat()
        with self._connection:
            self._connection.execute(ADD, (own.number, day, at, ledger_at, body))
            self._connection.execute(THIN, (day, own.number))
        return own

    def _judge(self, said: CheckpointExchange) -> None:
        """Take the coordinator's checkpoint, where it goes on from the one that is kept."""
        kept = self._kept()
        finding = judge(kept, said, self._coordinator)
        if finding in FAULTS:
            self._fault("coordinator", finding, kept, said.own)
        if finding in TAKEN:
            day = self._now().date().isoformat()
            with self._connection:
                body = said.own.SerializeToString(deterministic=True)
                self._connection.execute(KEEP, (day, body))

    def _recognise(self, mine: Checkpoint) -> None:
        """Look for a checkpoint of ours in our own chains: a backup put in place lacks the last."""
        if not is_signed(mine, self._house, self._public):
            self._fault("gateway", Finding.REKEYED, None, mine)
            return
        trail, ledger, _body = self._connection.execute(OWN, (mine.number,)).fetchone() or (
            None, None, b"",
        )  # fmt: skip
        if trail is None or self._trail.link_at(trail) != mine.link:
            trail = self._trail.position_of(mine.link)
        if ledger is None or self._ledger.link_at(ledger) != mine.ledger_link:
            ledger = self._ledger.position_of(mine.ledger_link)
        if trail is None or ledger is None:
            self._fault("gateway", Finding.REWOUND, None, mine)
        body = mine.SerializeToString(deterministic=True)
        day = self._now().date().isoformat()
        with self._connection:
            self._connection.execute(LEARN, (mine.number, day, trail, ledger, body))
            self._connection.execute(FORGET, (mine.number,))  # a coordinator put back keeps less
        self._reconcile(mine)

    def _reconcile(self, mine: Checkpoint) -> None:
        """Charge what the coordinator can show that we had spent."""
        self._reconcile_spending(mine)
        waits = self._privacy.waiting_since()
        if waits is not None and mine.at.ToSeconds() >= int(waits.timestamp()):
            return  # signed after the backup was put in place: it says nothing of what was lost
        by = f"checkpoint {mine.number}"
        missing = self._privacy.reconcile(mine.year, mine.spent_nano_rho, by)
        if missing or waits is not None:
            self._trail.record("ledger_reconciled", charged_nano_rho=missing, by=by)

    def _reconcile_spending(self, mine: Checkpoint) -> None:
        """Charge the bits and burn the looks that are missing; an older checkpoint tells none."""
        spending = self._spending
        if spending is None or not tells_spending(mine, self._public):
            return
        waits = spending.waiting_since()
        if waits is not None and mine.at.ToSeconds() >= int(waits.timestamp()):
            return
        told = Spent(mine.milli_bits, mine.looks, mine.trained)
        missing = spending.reconcile(told, f"checkpoint {mine.number}")
        if waits is not None or missing != Spent(0, 0, 0):
            self._trail.record(
                "spending_reconciled", by=f"checkpoint {mine.number}", **asdict(missing)
            )

    def _fault(
        self, whose: str, finding: Finding, kept: Checkpoint | None, shown: Checkpoint
    ) -> None:
        """Put an integrity event on the trail, once for each thing that is found."""
        number = min(shown.number, LARGEST)
        alike = [each for each in faults(self._connection) if each.is_alike(whose, finding)]
        if alike and (alike[-1].number == number or self._is_recent(alike[-1])):
            return
        self._trail.record(
            "checkpoint_fault",
            whose=whose,
            finding=finding.value,
            number=number,
            link=shown.link.hex()[:64],
            kept_number=kept.number if kept else None,
            kept_link=kept.link.hex() if kept else None,
        )
        with self._connection:  # after the event: a power cut between makes it twice, never not
            at = self._now().isoformat()
            self._connection.execute(FAULT, (at, whose, finding, number))
        log.error("checkpoint_fault", whose=whose, finding=finding.value)

    def _is_recent(self, fault: Fault) -> bool:
        return self._now() - datetime.fromisoformat(fault.at) < AGAIN

    def _kept(self) -> Checkpoint | None:
        row = self._connection.execute(KEPT).fetchone()
        return Checkpoint.FromString(row[0]) if row else None


def open_book(path: Path) -> sqlite3.Connection:
    """Open the notary's tables."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(SCHEMA)
    return connection


def signed_so_far(connection: sqlite3.Connection) -> list[tuple[int, Checkpoint]]:
    """Return this house's own checkpoints, each with the entry of the trail it stands at."""
    rows = connection.execute(OWNS).fetchall()
    return [(at, Checkpoint.FromString(body)) for _number, at, body in rows]


def ledger_marks(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """Return the entries of the egress ledger that this house signed for, each with its link."""
    rows = connection.execute(MARKS).fetchall()
    return [(at, Checkpoint.FromString(body).ledger_link) for at, body in rows]


def kept_so_far(connection: sqlite3.Connection) -> list[Checkpoint]:
    """Return what is kept of the coordinator's, oldest first."""
    return [Checkpoint.FromString(body) for (body,) in connection.execute(ALL_KEPT)]


def faults(connection: sqlite3.Connection) -> list[Fault]:
    return [Fault(*row) for row in connection.execute(FAULTS_FOUND)]
