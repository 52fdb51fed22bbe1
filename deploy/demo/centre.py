"""The federation's centre in the demo: the coordinator, its operator and one vendor."""

import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.commands import CommandFailed, attempt, radfed
from deploy.demo.ports import free_port
from deploy.demo.signers import PROJECT, Person, Signers
from deploy.demo.supervisor import Supervisor

FEDERATION = "demo"
POLL_SECONDS = 1.0


@dataclass(slots=True)
class Centre:
    """Where the coordinator's things lie, and what its people type."""

    home: Path
    port: int
    console_port: int
    signers: Signers

    @classmethod
    def build(cls, home: Path, hospitals: Sequence[str]) -> "Centre":
        """`radfed coordinator init`, and let it record every byte it receives."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        radfed("coordinator", "init", str(home), "--federation", FEDERATION, "--address", address)
        centre = cls(home, port, free_port(), Signers.make(home / "signers"))
        settings = centre.config.read_text()
        settings = re.sub(r"heartbeat_seconds = .*", "heartbeat_seconds = 2", settings)
        more = f'[console]\nport = {centre.console_port}\n\n[record]\ndirectory = "record"\n'
        centre.config.write_text(f"{settings}\n{more}")
        centre._say_who_counts(hospitals)
        return centre

    def _say_who_counts(self, hospitals: Sequence[str]) -> None:
        """Let the federation's authority sign who counts, and give each of them a credential."""
        draft, signed = self.home / "manifest.toml", self.home / "manifest.json"
        draft.write_text(self.signers.draft(hospitals))
        authority = str(self.home / "root")
        radfed("authority", "sign", authority, str(draft), "--out", str(signed), "--yes")
        config = ("--config", str(self.config))
        radfed("coordinator", "install", str(signed), *config)
        for person in self.signers.everybody():
            words = (person.name, str(self._credential(person)), "--role", person.role)
            whose = ("--organisation", person.organisation)
            radfed("coordinator", "credential", *words, *whose, *config)

    def _credential(self, person: Person) -> Path:
        return self.home / "credentials" / person.name

    @property
    def config(self) -> Path:
        return self.home / "coordinator.toml"

    @property
    def record(self) -> Path:
        return self.home / "record"

    def console_link(self) -> str | None:
        """Return the link that makes the first account of the federation's pages."""
        file = self.home / "data" / "console.link"
        return file.read_text().strip() if file.exists() else None

    def start(self, supervisor: Supervisor) -> None:
        argv = [sys.executable, "-m", "coordinator", "run", "--config", str(self.config)]
        supervisor.start("coordinator", argv)

    def operator(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        return radfed(*words, env=self._operator())

    def try_operator(self, *words: str) -> tuple[int, Any, str]:
        return attempt(*words, env=self._operator())

    def patiently(self, *words: str, seconds: float = 40.0) -> Any:  # noqa: ANN401 - JSON
        """Repeat a command while the coordinator cannot be reached: it may just be starting."""
        deadline = time.monotonic() + seconds
        while True:
            code, document, said = self.try_operator(*words)
            if code == 0:
                return document
            if code != UNREACHABLE or time.monotonic() > deadline:
                raise CommandFailed(words, code, said)
            time.sleep(POLL_SECONDS)

    def invite(self, site: str) -> str:
        return str(self.patiently("site", "invite", site)["token"])

    def connected(self) -> set[str]:
        return {row["site"] for row in self.patiently("site", "ls") if row["connected"]}

    def ask(self, *words: str) -> tuple[int, Any, str]:
        """Ask for the project, with the requester's signature."""
        return self.ask_unsigned(*words, "--key", str(self.signers.requester.key))

    def ask_unsigned(self, *words: str) -> tuple[int, Any, str]:
        whose = ("--as", str(self._credential(self.signers.requester)))
        return self.try_operator("query", "run", *words, "--project", PROJECT, *whose)

    def review(self, job: str) -> None:
        """Let every reviewer read the job and sign it."""
        for person in self.signers.reviewers:
            self.patiently(
                *("job", "review", job, "--key", str(person.key), "--yes"),
                *("--as", str(self._credential(person))),
            )

    def submit(self, bundle: Path, sites: Sequence[str], weights: Path | None = None) -> str:
        """Submit a bundle as its vendor, and have it reviewed."""
        words = ["job", "submit", str(bundle), "--key", str(self.signers.vendor.key)]
        words += ["--project", PROJECT, "--as", str(self._credential(self.signers.vendor))]
        for site in sites:
            words += ["--site", site]
        if weights is not None:
            words += ["--weights", str(weights)]
        job = str(self.patiently(*words)["job_id"])
        self.review(job)
        return job

    def watch(self, job: str) -> dict[str, Any]:
        """Follow a job until it is over; return what `job show` says of it then."""
        shown: dict[str, Any] = self.patiently("job", "watch", job)
        return shown

    def wait(self, jobs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Follow jobs side by side."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            return dict(zip(jobs, pool.map(self.watch, jobs), strict=True))

    def result(self, job: str, into: Path) -> Path:
        self.patiently("job", "result", job, "--out", str(into))
        return into

    def _operator(self) -> dict[str, str]:
        return {"RADFED_CREDENTIAL": str(self.home / "operator")}


UNREACHABLE = 5  # the documented exit code
