"""A hospital's outbound rooms over real SQLite, a real store and small synthetic images."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from gateway.audit import AuditTrail
from gateway.cohort.answers import Answers
from gateway.cohort.exact import ExactTables
from gateway.cohort.privacy import PrivacyLedger
from gateway.desk.book import Book
from gateway.desk.charging import Charging
from gateway.desk.cohorts import Cohorts
from gateway.desk.desk import Desk
from gateway.desk.examining import Examiner
from gateway.desk.locked_sets import LockedSets
from gateway.desk.objects import Objects
from gateway.desk.references import References
from gateway.desk.rounds import Rounds
from gateway.desk.rules import OUTCOME_CODES
from gateway.desk.signers import Signers
from gateway.desk.sum_book import SumBook
from gateway.desk.sums import Sums
from gateway.model import InstanceFacts
from gateway.policy import Policy, Trust
from gateway.release.bits import BitsLedger
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from gateway.store.index import Index
from gateway.store.strata import Strata
from gateway.store.tally import Tally
from gateway.trust import Pins

ADD_LABEL = (
    "INSERT INTO label (study_uid, series_uid, name, value, reader) VALUES (NULL, ?, ?, ?, '')"
)
UNSIGNED = Trust(signed_questions=False, reviewers=0, signed_rounds=False)
NOISE_KEY, SPLIT_KEY = b"n" * 32, b"s" * 32


def facts(number: int, **changes) -> InstanceFacts:
    """Return one instance of patient `number`: a CT of the chest of a woman of 60."""
    values = {
        "sop_uid": f"2.25.{number}3",
        "series_uid": f"2.25.{number}2",
        "study_uid": f"2.25.{number}1",
        "patient": f"p{number:04d}",
        "countable": True,
        "sop_class_uid": CTImageStorage,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "modality": "CT",
        "body_part": "CHEST",
        "sex": "F",
        "age_years": 60,
        "study_year": 2024,
        "manufacturer": "GE MEDICAL SYSTEMS",
        "model": "",
        "slice_thickness_mm": 1.0,
        "rows": 8,
        "columns": 8,
        "frames": 1,
        "instance_number": 1,
        "size_bytes": 1000,
        "profile_digest": "00" * 32,
        "received_digest": "11" * 32,
        "path": f"{number}.dcm",
    }
    return InstanceFacts(**values | changes)


def write_image(path: Path, *, bright: bool, seed: int) -> None:
    """Write a synthetic 8 x 8 CT slice, bright in the middle or not."""
    pixels = np.random.default_rng(seed).normal(100, 10, (8, 8))
    pixels[2:6, 2:6] += 60 if bright else 0
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"2.25.{seed + 1}3"
    image.Modality, image.Rows, image.Columns = "CT", 8, 8
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.PixelSpacing, image.SliceThickness = [1, 1], 1
    image.InstanceNumber = 1
    image.PixelData = pixels.clip(0).astype("<u2").tobytes()
    image.save_as(path, enforce_file_format=True)


class Hospital:
    """Everything from index to gate; the clock, the policy and the runner are the test's."""

    def __init__(
        self, directory: Path, runner=None, policy: Policy | None = None, site: str = "tongji"
    ) -> None:
        self.directory = directory
        self.site = site
        self.policy = policy or Policy()
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        self.runner = runner
        self.sum_key = Ed25519PrivateKey.generate()
        self.open()

    def open(self) -> None:
        """Open every room, as a start of the gateway does."""
        home = self.directory
        self.index = Index.open(home / "index.db")
        self.ledger = Ledger.open(home / "ledger.db", lambda: self.now)
        self.audit = AuditTrail.open(home / "audit.db", lambda: self.now)
        self.book = Book.open(home / "desk" / "desk.db", lambda: self.now)
        self.objects = Objects(home / "desk" / "objects")
        self.shelf = UpdateShelf(home / "desk" / "updates")
        self.privacy = PrivacyLedger.open(home / "privacy.db", NOISE_KEY, lambda: self.now)
        self.bits = BitsLedger.open(home / "bits.db", lambda: self.now)
        self.tally = Tally(self.index)
        self.exact = ExactTables.open(home / "exact.db", self.tally)
        self.answers = Answers(self._policy, self.tally, self.privacy, exact_tables=self.exact)
        self.gate = Gate(self._policy, self.ledger, self.shelf, OUTCOME_CODES, lambda: self.now)
        self.pins = Pins(home / "keys" / "roots.crt", home / "manifest.json", lambda: self.now)
        self.signers = Signers(
            self.site, self.book, self.pins, self._policy, self.audit, lambda: self.now
        )
        self.sets = LockedSets(
            home / "desk" / "tests", b"r" * 32, self._policy, self.audit, lambda: self.now
        )
        self.sum_book = SumBook.open(home / "sums" / "sums.db")
        self.sums = Sums(
            self.site, self.book, self.sum_book, self.gate, self._policy, self.audit,
            self.sum_key, self.sets,
        )  # fmt: skip
        strata = Strata(self.index)
        cohorts = Cohorts(self.tally, self.answers, home / "store", SPLIT_KEY)
        self.rounds = Rounds(
            self.book,
            self.objects,
            cohorts,
            self.gate,
            self._policy,
            self.audit,
            self.signers,
            Charging(self.bits, self._policy),
            examiner=Examiner(strata, self.sets, References(strata, home / "store", self.audit)),
            sums=self.sums,
            runner=self.runner,
            directory=home / "desk" / "jobs",
            wall_seconds=120,
            now=lambda: self.now,
        )
        self.desk = Desk(
            self.book,
            self.objects,
            self._policy,
            self.audit,
            self.answers,
            self.rounds,
            self.signers,
            lambda: self.now,
            tick=0.0,  # answers leave as soon as they are made
        )

    def close(self) -> None:
        for room in (
            self.index, self.ledger, self.audit, self.book, self.privacy, self.exact, self.bits,
            self.sets, self.sum_book,
        ):  # fmt: skip
            room.close()

    def admit(self, patients: int, **changes) -> None:
        """Fill the index with patients who have no files."""
        self.index.add([facts(number, **changes) for number in range(patients)])

    def admit_images(self, patients: int, label: str = "nodule") -> None:
        """Store one labelled series for each patient, every second one with a finding."""
        store = self.directory / "store"
        store.mkdir()
        for number in range(patients):
            write_image(store / f"{number}.dcm", bright=number % 2 == 1, seed=number)
        self.index.add([facts(number) for number in range(patients)])
        with self.index.transaction() as connection:
            rows = [
                (f"2.25.{number}2", label, "POSITIVE" if number % 2 else "NEGATIVE")
                for number in range(patients)
            ]
            connection.executemany(ADD_LABEL, rows)

    def hold(self, content: bytes) -> bytes:
        """Put an object where a finished fetch puts it; return its digest."""
        from hashlib import sha256

        from gateway.desk.objects import Wanted

        wanted = Wanted(sha256(content).digest(), len(content))
        self.objects.append(wanted, content)
        self.objects.finish(wanted)
        return wanted.digest

    def _policy(self) -> Policy:
        """Return the rules in force; most tests are not about signatures, and demand none."""
        if "trust" in self.policy.model_fields_set:
            return self.policy
        return self.policy.model_copy(update={"trust": UNSIGNED})
