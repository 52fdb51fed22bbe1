"""One hospital of the demo: its gateway, its PACS and its steward, each by its own commands."""

import json
import re
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.demo.archive import Archive
from deploy.demo.certificates import HospitalTls, make_hospital_tls
from deploy.demo.commands import radfed
from deploy.demo.phantoms import SiteProfile
from deploy.demo.ports import free_port
from deploy.demo.proxy import CapturingProxy, Way, as_guest, as_hospital
from deploy.demo.supervisor import Supervisor

AE_TITLE = "RADFED"
STEWARD = "steward"
UNGRADED = "-"
WAITING = "waiting"
RESERVE_BYTES = 64 << 20  # a demo must also run on a small disk
# Evaluations of this vendor's models are approved in advance: a hospital may say so.
STANDING = """
[[jobs.standing]]
vendor = "{vendor}"
kind = "evaluation"
"""


@dataclass(slots=True)
class Hospital:
    """Where one hospital's things lie, and what its people type."""

    home: Path
    profile: SiteProfile
    archive: Archive
    dicom_port: int
    console_port: int
    tls: HospitalTls
    proxy: CapturingProxy = field(init=False)
    _token: str = ""

    @classmethod
    def build(
        cls, home: Path, profile: SiteProfile, archive: Archive, coordinators_door: Way
    ) -> "Hospital":
        """Make its DICOM certificates and `radfed gateway init` it, behind its proxy."""
        tls = make_hospital_tls(home / "tls", profile.site)
        hospital = cls(home, profile, archive, free_port(), free_port(), tls)
        hospital.proxy = CapturingProxy(home / "wire", coordinators_door, hospital._onward)
        hospital._init()
        return hospital

    @property
    def site(self) -> str:
        return self.profile.site

    @property
    def name(self) -> str:
        """Name its gateway's process, pid file and log."""
        return f"gateway-{self.site}"

    @property
    def config(self) -> Path:
        return self.home / "gateway.toml"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def gateway(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        return radfed("gateway", *words, "--config", str(self.config))

    def enrol(self, token: str) -> None:
        """Enrol through the proxy, as all else goes through it."""
        self._token = token
        self.proxy.start()
        self.gateway("enrol", token)

    def start(self, supervisor: Supervisor) -> None:
        argv = [sys.executable, "-m", "gateway", "run", "--config", str(self.config)]
        supervisor.start(self.name, argv)

    def push(self, seconds: float) -> "subprocess.Popen[str]":
        """Let the PACS push its whole archive over DICOM TLS."""
        argv = [
            *(sys.executable, "-m", "deploy.demo.pacs", str(self.archive.directory)),
            *("--to", f"127.0.0.1:{self.dicom_port}", "--called", AE_TITLE),
            *("--ca", str(self.tls.ca), "--certificate", str(self.tls.pacs.certificate)),
            *("--key", str(self.tls.pacs.key), "--seconds", str(seconds)),
        ]
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def console_link(self) -> str | None:
        """Return the one-time link to the steward's pages, while it can be opened."""
        file = self.status()["console_link"]
        return None if file is None else Path(file).read_text().strip()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway("status")
        return found

    def settled(self) -> bool:
        """Say whether all that was taken is stored and graded, or in quarantine."""
        status = self.status()
        waiting = status["arrivals"] + status["vault"]["incoming"]
        return waiting == 0 and UNGRADED not in status["stored"]["grades"]

    def quarantine(self) -> Counter[str]:
        """Return how many instances are in quarantine for each reason."""
        return Counter(row["reason"] for row in self.gateway("quarantine", "ls"))

    def import_labels(self) -> int:
        return int(self.gateway("labels", "import", str(self.archive.labels))["taken"])

    def refuse_field(self, field: str) -> None:
        """Take a field out of what this hospital answers: its policy, its decision."""
        line = f'refused_fields = ["{field}"]'
        self._edit(self.data / "policy.toml", r"refused_fields = \[\]", line)

    def pin_vendor(self, vendor: str, public_key: Path) -> None:
        self.gateway("policy", "pin-vendor", vendor, str(public_key))
        policy = self.data / "policy.toml"
        policy.write_text(policy.read_text() + STANDING.format(vendor=vendor))

    def sum_key(self) -> str:
        """Return the key that this hospital's people tell those of the others."""
        return str(self.gateway("sums")["sum_key"])

    def add_up_with(self, others: Mapping[str, str]) -> None:
        """Pin the others' keys for secure sums; three hospitals are enough for a demo's."""
        self._edit(self.data / "policy.toml", r"roster_at_least = 5", "roster_at_least = 3")
        for site, key in others.items():
            if site != self.site:
                self.gateway("policy", "pin-hospital", site, key)

    def approve(self, job: str) -> None:
        self.gateway("approvals", "approve", job, "--by", STEWARD)

    def waiting(self) -> set[str]:
        """Return the jobs in the steward's inbox."""
        return {row["job_id"] for row in self.gateway("approvals", "ls") if row["stage"] == WAITING}

    def ledger(self) -> list[tuple[int, str]]:
        """Return the size and the SHA-256 of everything that left."""
        rows = self.gateway("ledger", "ls", "--newest", "0")
        return [(row["size"], row["sha256"]) for row in rows]

    def verify_ledger(self) -> None:
        """Verify the hash chain, and every payload that it holds."""
        self.gateway("ledger", "verify")

    def _init(self) -> None:
        self.gateway(
            *("init", "--site", self.site, "--data", str(self.data), "--ae-title", AE_TITLE),
            *("--host", "127.0.0.1", "--port", "-1", "--tls-port", str(self.dicom_port)),
            *("--tls-certificate", str(self.tls.gateway.certificate)),
            *("--tls-key", str(self.tls.gateway.key), "--peer", "pacs=PACS"),
            *("--console-port", str(self.console_port), "--reserve-bytes", str(RESERVE_BYTES)),
            *("--recovery-code-file", str(self.home / "recovery-code")),
        )
        demand = f"client_ca = {json.dumps(str(self.tls.ca.absolute()))}"
        self._edit(self.config, r"# client_ca = .*", demand)
        way_out = f'[federation]\nproxy = "http://{self.proxy.address}"'
        self._edit(self.config, r"\[federation\]", way_out)

    def _onward(self) -> ssl.SSLContext:
        """Return how its proxy dials on in its name: the invited guest's, and then its own."""
        keys = self.data / "keys"
        if not (keys / "gateway.crt").exists():
            return as_guest(self._token)
        roots = (keys / "roots.crt").read_text("ascii")
        return as_hospital(roots, keys / "gateway.crt", keys / "gateway.key")

    @staticmethod
    def _edit(path: Path, pattern: str, line: str) -> None:
        text, changed = re.subn(pattern, lambda _: line, path.read_text(), count=1)
        if not changed:
            raise ValueError(f"{path.name} has no line like {pattern!r}")
        path.write_text(text)
