"""A federation on this machine: a coordinator as operators start it, and crowds of hospitals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Credential, Federation
from coordinator.app.setup import initialise
from coordinator.audit import AuditTrail
from coordinator.config import load
from coordinator.errors import CoordinatorError
from deploy.demo.commands import radfed
from protos.signatures import sign_question
from protos.v1.federation_pb2 import AskQuestionResponse
from protos.v1.question_pb2 import Question
from tests.bench.processes import REPOSITORY, Tree, free_port, wait_listening

NAME, PROJECT = "crowd", "counting"
SHARED = Path("/dev/shm")


@dataclass
class Centre:
    """The coordinator: its home, its process, and the requester who asks it."""

    home: Path
    port: int
    tree: Tree | None = None
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @classmethod
    def found(cls, home: Path, hospitals: Sequence[str], port: int, **values: object) -> Self:
        """Make a federation in which one requester may ask these hospitals."""
        made = initialise(home, NAME, [f"127.0.0.1:{port}"], datetime.now(UTC))
        text = made.config.read_text("utf-8")
        for name, value in values.items():
            text, found = re.subn(rf"(?m)^(# ?)?{name} = .*$", f"{name} = {value}", text)
            assert found == 1, f"{name} is no setting of a coordinator"
        made.config.write_text(text, "utf-8")
        centre = cls(home, port)
        centre._sign(hospitals)
        return centre

    def _sign(self, hospitals: Sequence[str]) -> None:
        until = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
        public = self.key.public_key().public_bytes_raw().hex()
        draft = self.home / "manifest.toml"
        draft.write_text(
            f'[[signers]]\nrole = "requester"\nname = "alma"\norganisation = "university"\n'
            f'public_key = "{public}"\nexpires = {until}\n'
            f'[[projects]]\nname = "{PROJECT}"\npurpose = "Count."\nlegal_basis = "none needed"\n'
            f'ethics = "harness"\norganisations = ["university"]\n'
            f"hospitals = {json.dumps(list(hospitals))}\nexpires = {until}\n",
            "utf-8",
        )
        signed = self.home / "manifest.json"
        authority = str(self.home / "root")
        radfed("authority", "sign", authority, str(draft), "--out", str(signed), "--yes")
        radfed("coordinator", "install", str(signed), "--config", str(self.config))
        whose = ("--role", "requester", "--organisation", "university")
        radfed(
            *("coordinator", "credential", "alma", str(self.home / "alma"), *whose),
            *("--config", str(self.config)),
        )

    @property
    def config(self) -> Path:
        return self.home / "coordinator.toml"

    @property
    def log(self) -> Path:
        return self.home / "coordinator.log"

    def start(self, files: int | None = None) -> None:
        """Start it; with `files`, as an account that begins with so many open files."""
        command = [sys.executable, "-m", "coordinator", "run", "--config", str(self.config)]
        if files is not None:
            command = ["sh", "-c", f'ulimit -S -n {files}; exec "$@"', "sh", *command]
        self.tree = Tree(command, self.log)
        wait_listening(self.tree, self.port)

    def kill(self) -> None:
        assert self.tree is not None
        for pid in self.tree.pids():
            os.kill(pid, signal.SIGKILL)
        self.tree.stop()
        self.tree = None

    def stop(self) -> None:
        if self.tree is not None:
            self.tree.stop()
            self.tree = None

    def operator(self) -> Federation:
        return Federation(Credential.load(self.home / "operator"))

    def requester(self) -> Federation:
        return Federation(Credential.load(self.home / "alma"))

    def signed(self, question: Question) -> Question:
        until = datetime.now(UTC) + timedelta(minutes=5)
        question.project = PROJECT
        sign_question(question, NAME, self.key, token_bytes(16), until)
        return question

    def ask(self, client: Federation, question: Question) -> "Asked":
        """Ask everybody; return when each answer came, and the total."""
        began, came = time.monotonic(), []
        total: AskQuestionResponse | None = None
        states: dict[int, int] = {}
        for said in client.ask(self.signed(question)):
            if said.HasField("site_answer"):
                state = said.site_answer.answer.state
                states[state] = states.get(state, 0) + 1
                came.append(time.monotonic() - began)
            else:
                total = said
        assert total is not None, "an answer without a total"
        return Asked(came, states, time.monotonic() - began)

    def invite(self, sites: Sequence[str]) -> dict[str, str]:
        with self.operator() as client:
            return {site: client.invite(site).token for site in sites}

    def audited(self) -> int:
        """Verify the coordinator's audit trail while it is stopped; return its length."""
        trail = AuditTrail.open(load(self.config).audit_file, time.time)
        try:
            return trail.verify()
        finally:
            trail.close()

    def connected(self) -> int:
        try:
            with self.operator() as client:
                return sum(site.connected for site in client.sites())
        except CoordinatorError:
            return 0


@dataclass(frozen=True, slots=True)
class Asked:
    came: list[float]  # seconds after the question, for each site
    states: dict[int, int]  # how many sites, by `AnswerState`
    seconds: float


class Crowd:
    """A process of hospitals, told what to do."""

    def __init__(self, home: Path, log: Path) -> None:
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.federation.crowd", str(home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                cwd=REPOSITORY,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, order: str, **facts: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order} | facts).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError("a crowd has ended: see its log")
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, order: str, **facts: object) -> dict[str, Any]:
        self.say(order, **facts)
        return self.hear()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


class Crowds:
    """All hospitals, spread over a few processes."""

    def __init__(self, home: Path, logs: Path, sites: Sequence[str], processes: int = 2) -> None:
        self.sites = list(sites)
        self._shares = {
            Crowd(home, logs / f"crowd-{number}.log"): self.sites[number::processes]
            for number in range(processes)
        }

    def raise_(self, patients: int = 40, **settings: object) -> None:
        self._each(
            lambda share: ("raise_", {"sites": share, "patients": patients, "settings": settings})
        )

    def enrol(self, tokens: Mapping[str, str]) -> list[dict[str, Any]]:
        return self._each(lambda share: ("enrol", {"tokens": {s: tokens[s] for s in share}}))

    def all(self, order: str, **facts: object) -> list[dict[str, Any]]:
        return self._each(lambda _share: (order, facts))

    def connected(self) -> int:
        return sum(said["connected"] for said in self.all("state"))

    def wait_connected(self, seconds: float, count: int | None = None) -> float:
        """Return how long it took until all were connected."""
        began = time.monotonic()
        wanted = len(self.sites) if count is None else count
        while self.connected() < wanted:
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{self.connected()} of {wanted} connected: {self.all('state')}")
            time.sleep(0.05)
        return time.monotonic() - began

    def pids(self) -> list[int]:
        return [crowd.pid for crowd in self._shares]

    def stop(self) -> None:
        for crowd in self._shares:
            crowd.stop()

    def _each(self, order: Any) -> list[dict[str, Any]]:
        for crowd, share in self._shares.items():
            name, facts = order(share)
            crowd.say(name, **facts)
        return [crowd.hear() for crowd in self._shares]


@contextmanager
def a_crowd(
    directory: Path, shared: Path, count: int, processes: int = 2, **values: object
) -> Iterator[tuple[Centre, Crowds]]:
    """Found a federation of `count` hospitals, start it, enrol nobody yet."""
    sites = [f"hospital-{number:04d}" for number in range(count)]
    centre = Centre.found(directory / "centre", sites, free_port(), **values)
    crowds = Crowds(shared, directory, sites, processes)
    try:
        centre.start()
        yield centre, crowds
    finally:
        crowds.stop()
        centre.stop()
