"""Locked test sets: one protocol each, a quota of looks per product, every look on the record."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import AuditTrail
from gateway.desk.rules import Refusal
from gateway.durable import make_durably, replace_durably
from gateway.policy import Policy
from gateway.release.restored import Restorations
from protos.evaluation import Design, EvaluationProtocol
from protos.job_manifest import JobManifest, protocol_digest
from protos.reports import statistics_statement
from protos.tensors import Buffer
from protos.transcripts import update_statement
from protos.v1.job_pb2 import TaskOutcome

SCHEMA = """
    CREATE TABLE IF NOT EXISTS locked_set (
        test_set TEXT PRIMARY KEY,
        protocol BLOB NOT NULL,  -- protos.job_manifest.protocol_digest, fixed at the first look
        fixed_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS look (
        task_id  TEXT PRIMARY KEY,  -- a round that runs again after a crash is the same look
        test_set TEXT NOT NULL,
        product  TEXT NOT NULL,
        bundle   TEXT NOT NULL,
        at       TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS trained (
        label TEXT PRIMARY KEY,  -- a job trained on it here: no external test of it any more
        at    TEXT NOT NULL
    ) STRICT;
"""
PROTOCOL = "SELECT protocol FROM locked_set WHERE test_set = ?"
FIX = "INSERT INTO locked_set VALUES (?, ?, ?) ON CONFLICT (test_set) DO NOTHING"
# A look that was lost with a backup has no set and no product: it counts as one of every product.
LOOKS = """
    SELECT task_id FROM look WHERE (test_set = ? AND product = ?) OR test_set = ''
    ORDER BY at, rowid
"""
BURN = "INSERT INTO look VALUES (?, ?, ?, ?, ?) ON CONFLICT (task_id) DO NOTHING"
# `lost N`: a label nobody knows any more, until a steward names it; then `found N`.
TRAINED = "SELECT 1 FROM trained WHERE label = ? OR label LIKE 'lost %'"
COUNTS = "SELECT (SELECT count(*) FROM look), (SELECT count(*) FROM trained)"
FOUND = "UPDATE trained SET label = 'found ' || substr(label, 6) WHERE label LIKE 'lost %'"
TRAIN = "INSERT INTO trained VALUES (?, ?) ON CONFLICT (label) DO NOTHING"
LOST = "(lost with a backup)"
ALL_LOOKS = "SELECT test_set, product, bundle, at FROM look ORDER BY at, rowid"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A product that was tested on a set before: its bundle, its threshold and what it said."""

    bundle: bytes
    threshold: float
    predictions: memoryview


class LockedSets:
    """Keeps the count in the hospital: no coordinator can give a product another look."""

    def __init__(
        self,
        directory: Path,
        seed: bytes,
        policy: Callable[[], Policy],
        audit: AuditTrail,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._policy = policy
        self._audit = audit
        self._now = now
        self._lock = Lock()
        self._connection = sqlite3.connect(
            directory / "looks.db", timeout=30, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(SCHEMA)
        self._restored = Restorations(self._connection)

    def judge(self, task_id: str, vendor: str, manifest: JobManifest) -> Refusal | None:
        """Say why a job may not see what it asks for: a test set, or a label tested here."""
        tests = self._policy().tests
        protocol = manifest.protocol
        if protocol is None:  # it trains, or measures without a count of its looks
            held = manifest.label in tests.test_hospital_for
            return Refusal("test_hospital") if held else None
        external = protocol.design is Design.EXTERNAL
        fixed = self._rows(PROTOCOL, protocol.test_set)
        looks = self._looks(protocol, product_of(vendor, manifest))
        broken = {
            "ledger_unreconciled": self.waiting_since() is not None,
            "not_a_test_hospital": external and manifest.label not in tests.test_hospital_for,
            "trained_here": external and bool(self._rows(TRAINED, manifest.label)),
            "protocol_differs": bool(fixed) and fixed[0][0] != protocol_digest(manifest),
            "looks_exhausted": task_id not in looks and len(looks) >= tests.looks_per_product,
        }
        return next((Refusal(rule) for rule, applies in broken.items() if applies), None)

    def unlock(self, task_id: str, vendor: str, manifest: JobManifest, bundle: bytes) -> None:
        """Burn a look, durably, before anything of the set is laid out."""
        now = self._now().isoformat()
        if manifest.kind == "training":
            self._write(TRAIN, (manifest.label, now))
        protocol = manifest.protocol
        if protocol is None:
            return
        product = product_of(vendor, manifest)
        self._write(FIX, (protocol.test_set, protocol_digest(manifest), now))
        burnt = self._write(BURN, (task_id, protocol.test_set, product, bundle.hex(), now))
        if burnt:
            look, left = self.count(task_id, vendor, manifest)
            self._audit.record(
                "test_set_unlocked", task=task_id, test_set=protocol.test_set, product=product,
                bundle=bundle.hex(), protocol=protocol_digest(manifest).hex(), look=look, left=left,
            )  # fmt: skip

    def count(self, task_id: str, vendor: str, manifest: JobManifest) -> tuple[int, int]:
        """Return which look a task is, from 1, and how many are left after all."""
        assert manifest.protocol is not None
        looks = self._looks(manifest.protocol, product_of(vendor, manifest))
        left = self._policy().tests.looks_per_product - len(looks)
        return looks.index(task_id) + 1, max(0, left)

    def looks(self) -> list[dict[str, str]]:
        """Return every look that was burnt, for the steward's eyes."""
        names = ("test_set", "product", "bundle", "at")
        return [dict(zip(names, map(str, row), strict=True)) for row in self._rows(ALL_LOOKS)]

    def put_back(self) -> None:
        """Say that this is a backup: no look is taken until it is known which were."""
        with self._lock:
            self._restored.put_back(self._now())

    def waiting_since(self) -> datetime | None:
        """Return when a backup was put in place that was not reconciled; None where none was."""
        with self._lock:
            return self._restored.waiting_since()

    def counts(self) -> tuple[int, int]:
        """Return how many looks were burnt and how many labels were trained on, lost ones too."""
        (counts,) = self._rows(COUNTS)
        looks, trained = (int(str(each)) for each in counts)
        return looks, trained

    def reconcile(self, looks: int, trained: int, by: str) -> tuple[int, int]:
        """Burn for every product, and call trained, what was and is not in here; return both."""
        burnt, known = self.counts()
        missing = max(0, looks - burnt), max(0, trained - known)
        at = self._now().isoformat()
        for number in range(missing[0]):
            self._write(BURN, (f"lost {number} {at}", "", LOST, "", at))
        for number in range(missing[1]):
            self._write(TRAIN, (f"lost {number} {at}", at))
        with self._lock:
            self._restored.reconciled(by)
        return missing

    def name_trained(self, labels: Iterable[str]) -> None:
        """Take a steward's word for which labels were trained on where that was lost."""
        for label in labels:
            self._write(TRAIN, (label, self._now().isoformat()))
        self._write(FOUND, ())

    def keep(self, protocol: EvaluationProtocol, bundle: bytes, predictions: Buffer) -> None:
        """Keep a product's predictions in the hospital, for a later one to be compared with."""
        path = self._predictions(protocol.test_set, bundle.hex())
        make_durably(path.parent)
        replace_durably(path, repr(protocol.locked).encode() + b"\n", predictions)

    def kept(self, protocol: EvaluationProtocol) -> Earlier | None:
        """Return the comparator as it was tested here; None where it never was, or is damaged."""
        if protocol.compare_with is None:
            return None
        path = self._predictions(protocol.test_set, protocol.compare_with)
        try:
            with path.open("rb") as file:
                # Masks of a whole set are read a case at a time: they need not be in memory.
                mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
            end = mapped.find(b"\n")
            threshold = float(mapped[: max(end, 0)])
        except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
            return None
        bundle = bytes.fromhex(protocol.compare_with)
        return Earlier(bundle, threshold, memoryview(mapped)[end + 1 :])

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, task_id: str, statistics: bytes) -> tuple[bytes, bytes]:
        """Return this hospital's public key and its signature over its own figures."""
        signature = self._key.sign(statistics_statement(task_id, statistics))
        return self.public_key, signature

    def sign_update(self, outcome: TaskOutcome) -> None:
        """Put this hospital's signature on its update: nobody can bring another as its own."""
        outcome.update_key = self.public_key
        outcome.update_signature = self._key.sign(
            update_statement(outcome.task_id, outcome.update_digest, outcome.weight)
        )

    def close(self) -> None:
        self._connection.close()

    def _looks(self, protocol: EvaluationProtocol, product: str) -> list[str]:
        return [str(row[0]) for row in self._rows(LOOKS, protocol.test_set, product)]

    def _predictions(self, test_set: str, bundle: str) -> Path:
        name = sha256(f"{test_set}/{bundle}".encode()).hexdigest()
        return self._directory / "predictions" / f"{name}.csv"

    def _rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, values: tuple[object, ...]) -> bool:
        with self._lock:
            return self._connection.execute(sql, values).rowcount > 0


def product_of(vendor: str, manifest: JobManifest) -> str:
    """Name what the quota is of: a vendor's job of one name, in whatever version."""
    return f"{vendor}/{manifest.name}"
