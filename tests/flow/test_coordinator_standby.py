"""Two coordinators on one PostgreSQL: one leads, and a kill costs seconds and no work."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from typer.testing import CliRunner

from coordinator.api.client import Credential, Federation
from coordinator.api.parse import parse_question
from coordinator.app.tables import open_trail
from coordinator.cli import coordinator as node
from coordinator.config import load
from coordinator.training.card_checking import check_card
from protos.bundle import pack
from protos.v1.job_pb2 import TaskOutcome, TaskState
from protos.v1.question_pb2 import Answer, AnswerState, Cell, Question
from tests.fakes import gateway_client
from tests.fakes.federation import connected, free_port, make

pytestmark = pytest.mark.flow

REPOSITORY = Path(__file__).parents[2]


def a_pair(directory: Path, url: str) -> tuple[Path, Path]:
    """Make a federation and the standby of its coordinator: the same keys, another address."""
    first, second = directory / "first", directory / "second"
    objects = directory / "objects"
    shared = f'[store]\nurl = "{url}"\nobjects = "{objects}"\n'
    make(first, shared)
    shutil.copytree(first, second)
    standby = f"127.0.0.1:{free_port()}"
    settings = (second / "coordinator.toml").read_text()
    settings = re.sub(r"(?m)^port = \d+", f"port = {standby.rpartition(':')[2]}", settings, count=1)
    settings = re.sub(r'public_address = "[^"]*"', f'public_address = "{standby}"', settings)
    (second / "coordinator.toml").write_text(settings)
    credential = first / "operator" / "credential.toml"
    credential.write_text(
        credential.read_text().replace("standbys = []", f'standbys = ["{standby}"]')
    )
    return first, second


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ["run", "--config", str(home / "coordinator.toml"), "--json"]
    with (home / "log").open("ab") as log, (home / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "coordinator", *words], stdout=said, stderr=log, cwd=REPOSITORY
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(claim, seconds: float = 30.0) -> float:
    """Wait until a claim holds; return how long that took."""
    began = monotonic()
    while not claim():
        assert monotonic() < began + seconds, "it did not come true in time"
        sleep(0.05)
    return monotonic() - began


def says(home: Path, word: str) -> bool:
    return word in (home / "log").read_text()


def leads(home: Path) -> bool:
    return (home / "said").read_text().endswith("}\n")


def status(home: Path) -> dict[str, object]:
    config = str(home / "coordinator.toml")
    done = CliRunner().invoke(node, ["status", "--config", config, "--json"])
    return json.loads(done.stdout)


def address_of(home: Path) -> str:
    return load(home / "coordinator.toml").listen.public_address


class Hospitals:
    """Two gateways that count what they are asked for."""

    def __init__(self, operator: Credential) -> None:
        self.operator = operator
        self.asked: list[str] = []
        self.updates: list[tuple[str, str]] = []
        self.allowed = {"alpha": True, "beta": False}
        self.gateways: list[gateway_client.FakeGateway] = []

    async def told(self, call):
        def ask():
            with Federation(self.operator) as client:
                return call(client)

        return await asyncio.to_thread(ask)

    async def enrol(self, address: str) -> None:
        for name in self.allowed:
            token = (await self.told(lambda client, name=name: client.invite(name))).token
            gateway = await gateway_client.enrol(token, address)
            gateway.answering, gateway.working = self.answer, self.work
            self.gateways.append(gateway)

    def answer(self, question: Question) -> Answer:
        self.asked.append(question.question_id)
        cells = [Cell(values=[], state=AnswerState.ANSWER_STATE_VALUE, count=42)]
        return Answer(
            question_id=question.question_id, state=AnswerState.ANSWER_STATE_VALUE,
            cells=cells, sigma=10,
        )  # fmt: skip

    def work(self, gateway, task, _weights):
        if not self.allowed[gateway.site]:
            return None  # still computing when the leader dies
        self.updates.append((gateway.site, task.task_id))
        outcome = TaskOutcome(state=TaskState.TASK_STATE_RELEASED, weight=1)
        if task.evaluate_only:
            return outcome, b""
        step = {"alpha": 1.0, "beta": 3.0}[gateway.site]
        return outcome, write_tensors({"w": np.full(3, step, np.float32)})

    async def total(self) -> float:
        question = parse_question("Modality = 'CT'", [], "patients")
        *_, last = await self.told(lambda client: list(client.ask(question)))
        return last.total.cells[0].count

    async def over(self, job: str) -> str:
        stage = ""
        while stage not in {"finished", "failed"}:
            stage = (await self.told(lambda client: client.job(job))).job.stage
            await asyncio.sleep(0.2)
        return stage


def test_a_killed_leader_is_followed_within_30_seconds_and_nothing_happens_twice(
    tmp_path, shared_url
):
    first, second = a_pair(tmp_path, shared_url)
    hospitals = Hospitals(Credential.load(first / "operator"))

    async def story(leader):
        await hospitals.enrol(address_of(first))
        async with connected(*hospitals.gateways):
            before = await hospitals.total()
            job = await hospitals.told(submit(tmp_path))
            alpha = hospitals.gateways[0]
            await asyncio.to_thread(until, lambda: hospitals.updates and not alpha.unsettled)
            known = set(hospitals.asked)

            leader.kill()
            for gateway in hospitals.gateways:
                gateway.address = address_of(second)
            hospitals.allowed["beta"] = True
            took = await asyncio.to_thread(until, lambda: leads(second))
            stage = await hospitals.over(job)
            again = set(hospitals.asked) - known
            after = await hospitals.total()
            model = await hospitals.told(lambda client: b"".join(client.result(job)))
            card = check_card(*await hospitals.told(lambda client: client.report(job)), {})
        return (before, after), took, stage, again, (read_tensors(model)["w"], card)

    with running(first) as leader:
        until(lambda: leads(first))
        with running(second):
            until(lambda: says(second, "coordinator_stands_by"))
            roles = (status(first)["role"], status(second)["role"])
            whose = status(second)["leader"]
            totals, took, stage, again, model = asyncio.run(story(leader))
            later = (status(first)["role"], status(second)["role"])

    assert (roles, later) == (("leader", "standby"), ("stopped", "leader"))
    assert whose.endswith(f":{leader.pid}")
    assert took < 30
    assert totals == (84, 84)
    assert not again  # what was answered is put before nobody again
    assert stage == "finished"
    values, card = model
    assert values == pytest.approx([adam_of([2.0] * 3)] * 3, rel=1e-6)
    # One story under one key, though the one who told its beginning is dead.
    told = [bool(each.transcript) for each in card.rounds]
    assert told == [True] * 3 + [False]
    # Each hospital's part in each round was done once, and each round was folded once.
    assert sorted(set(hospitals.updates)) == sorted(hospitals.updates)
    assert trail(second).count("round_ended") == 4
    assert not says(first, "Traceback")
    assert not says(second, "Traceback")


def adam_of(steps: list[float]) -> float:
    """Work out what a server with a memory makes of these steps (Reddi et al. 2021)."""
    x, m, v = 0.0, 0.0, 0.2**2
    for step in steps:
        m, v = 0.9 * m + 0.1 * step, 0.99 * v + 0.01 * step**2
        x += 0.1 * m / (v**0.5 + 0.2)
    return x


def trail(home: Path) -> list[object]:
    opened = open_trail(load(home / "coordinator.toml"), time)
    try:
        return [entry["event"] for entry in opened.entries()]
    finally:
        opened.close()


def submit(directory: Path):
    from tests.flow.test_coordinator_rounds import a_bundle, submission

    a_bundle(directory, rounds=3)
    manifest = directory / "bundle" / "job.toml"
    manifest.write_text(f'{manifest.read_text()}\n[training]\nstrategy = "fedadam"\ntau = 0.2\n')
    raw = pack(directory / "bundle")

    def call(client) -> str:
        client.upload(raw)
        return client.submit(submission(raw, Ed25519PrivateKey.generate()))

    return call


def test_a_leader_that_was_stopped_and_wakes_stands_by(tmp_path, shared_url):
    first, second = a_pair(tmp_path, shared_url)

    with running(first) as leader:
        until(lambda: leads(first))
        with running(second):
            until(lambda: says(second, "coordinator_stands_by"))
            leader.send_signal(signal.SIGSTOP)
            took = until(lambda: leads(second))
            leader.send_signal(signal.SIGCONT)
            until(lambda: says(first, "coordinator_stands_by"))
            roles = (status(first)["role"], status(second)["role"])

    assert took < 30
    assert roles == ("standby", "leader")


def test_a_stop_hands_the_lease_over_at_once(tmp_path, shared_url):
    first, second = a_pair(tmp_path, shared_url)

    with running(first) as leader:
        until(lambda: leads(first))
        with running(second):
            until(lambda: says(second, "coordinator_stands_by"))
            leader.terminate()
            took = until(lambda: leads(second))

    assert leader.returncode == 0
    assert took < 6
