"""One hospital of a crowd: its own outbound rooms and link, over an index of invented images."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from gateway.app.build import build_audit, build_policy
from gateway.app.outbound import VERSION, build_desk, build_gate, build_link
from gateway.config import Federation, GatewayConfig
from gateway.keys import SiteSecret
from gateway.link.credentials import Credentials
from gateway.link.enrol import enrol
from gateway.link.status import LinkState
from gateway.model import InstanceFacts
from gateway.policy import DEFAULT_POLICY_TOML
from gateway.release.ledger import Ledger, LedgerReport
from gateway.store.index import Index

MAKERS = ("GE MEDICAL SYSTEMS", "SIEMENS", "United Imaging Healthcare", "Philips")
PARTS = ("CHEST", "HEAD", "ABDOMEN")


def invented(site: str, patients: int) -> Iterator[InstanceFacts]:
    """Yield one small series of each patient; another site has others."""
    draw = random.Random(site)
    for number in range(patients):
        name = f"2.25.{draw.getrandbits(100)}"
        yield InstanceFacts(
            sop_uid=f"{name}3",
            series_uid=f"{name}2",
            study_uid=f"{name}1",
            patient=f"{site}-{number}",
            countable=True,
            sop_class_uid=CTImageStorage,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            modality=draw.choice(("CT", "CT", "MR", "DX")),
            body_part=draw.choice(PARTS),
            sex=draw.choice("FM"),
            age_years=draw.randint(18, 89),
            study_year=draw.randint(2015, 2026),
            manufacturer=draw.choice(MAKERS),
            model="",
            slice_thickness_mm=draw.choice((0.625, 1.0, 2.0, 5.0)),
            rows=512,
            columns=512,
            frames=1,
            instance_number=1,
            size_bytes=531_000,
            profile_digest="00" * 32,
            received_digest="11" * 32,
            path=f"{name}.dcm",
        )


class Member:
    """A hospital without a DICOM door and without a sandbox; all else is what a gateway runs."""

    def __init__(self, home: Path, site: str, patients: int, settings: Federation) -> None:
        self.config = GatewayConfig(site=site, data=home, federation=settings)
        self.ahead = 0.0  # seconds this hospital's clock is wrong by
        self._stop = Event()
        self._threads: list[Thread] = []
        if not home.exists():
            home.mkdir(parents=True)
            SiteSecret.create(self.config.site_secret)
            self.config.policy_file.write_text(DEFAULT_POLICY_TOML, "utf-8")
            index = Index.open(self.config.index_file)
            index.add(list(invented(site, patients)))
            index.close()
        policy = build_policy(self.config)
        self.gate = build_gate(self.config, policy)
        self.audit = build_audit(self.config)
        self.desk = build_desk(self.config, policy, self.gate, self.audit, None)
        self.link = None

    def enrol(self, token: str) -> None:
        enrol(token, self.config, self.gate, VERSION, "the harness")

    def connect(self) -> None:
        credentials = Credentials.load(self.config.keys_dir)
        assert credentials is not None, "not enrolled"
        self.link = build_link(self.config, credentials, self.gate, self.desk, self.now)
        for room in (self.desk.run, self.link.run):
            thread = Thread(target=room, args=(self._stop,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    @property
    def is_connected(self) -> bool:
        return self.link is not None and self.link.status.state is LinkState.CONNECTED

    @property
    def says(self) -> str:
        return "" if self.link is None else f"{self.link.status.state}: {self.link.status.says}"

    @property
    def certificate_ends(self) -> float:
        credentials = Credentials.load(self.config.keys_dir)
        return credentials.not_after.timestamp() if credentials else 0.0

    def verified_ledger(self) -> LedgerReport:
        ledger = Ledger.open(self.config.ledger_file)
        try:
            return ledger.verify()
        finally:
            ledger.close()

    def charged(self) -> int:
        """Return how many answers this hospital's privacy ledger has been charged for."""
        with closing(sqlite3.connect(self.config.data / "privacy.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM spent").fetchone()[0])

    def ask_to_stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
