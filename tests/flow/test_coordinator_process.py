"""The coordinator as its operator runs it: commands, exit codes, a kill amid a round."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from typer.testing import CliRunner

from coordinator.cli import coordinator as node
from coordinator.cli import job, query, site, vendor
from protos.v1.job_pb2 import TaskOutcome, TaskState
from protos.v1.question_pb2 import Answer, AnswerState, Cell
from tests.fakes import gateway_client
from tests.fakes.federation import connected, make

pytestmark = pytest.mark.flow


def coordinator(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RADFED_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "coordinator", *words],
        capture_output=True, text=True, timeout=60, cwd=cwd, env=environment, check=False,
    )  # fmt: skip


def document(done: subprocess.CompletedProcess[str]):
    return json.loads(done.stdout)


class Process:
    """`coordinator run`, which says on stdout when it listens."""

    def __init__(self, home: Path) -> None:
        self.home = home
        words = ["run", "--config", str(home / "coordinator.toml"), "--json"]
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "coordinator", *words],
            stdout=subprocess.PIPE, stderr=(home / "log").open("a"), text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self.said = "".join(iter(self._line, "}\n"))

    def _line(self) -> str:
        line = self.popen.stdout.readline()
        assert line, (self.home / "log").read_text()
        return line

    def end(self, number: int) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(15)


@contextmanager
def a_process(home: Path):
    process = Process(home)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


@pytest.fixture
def home(tmp_path):
    make(tmp_path / "c")
    return tmp_path / "c"


def test_a_stop_is_asked_for_and_a_second_start_goes_on(home):
    with a_process(home) as first:
        invited = coordinator("site", "invite", "alpha", "--as", str(home / "operator"), "--json")
        running = document(coordinator("status", "--config", f"{home}/coordinator.toml", "--json"))
        ended = first.end(signal.SIGTERM)
    stopped = document(coordinator("status", "--config", f"{home}/coordinator.toml", "--json"))
    with a_process(home):
        listed = coordinator("site", "ls", "--as", str(home / "operator"), "--json")

    assert document(invited)["token"].startswith("radfed1.")
    assert (running["running"], stopped["running"], ended) == (True, False, 0)
    assert stopped["sites"] == {"invited": 1}
    assert [site["site"] for site in document(listed)] == ["alpha"]
    assert "Traceback" not in (home / "log").read_text()


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda home: append(home, "surprise = 1\n"), 4, "surprise"),
        (lambda home: append(home, "= broken\n"), 4, "TOML"),
        (lambda home: (home / "keys" / "server.key").chmod(0o644), 4, "chmod 600"),
        (lambda home: (home / "keys" / "issuing.key").unlink(), 4, "missing"),
        (lambda home: (home / "keys" / "roots.crt").write_text("x"), 4, "restore"),
        (lambda home: (home / "data").write_text("a file"), 3, "cannot be"),
    ],
)
def test_a_start_that_cannot_be_says_why_in_one_sentence(home, spoil, code, words):
    spoil(home)

    for command in ("run", "preflight"):
        done = CliRunner().invoke(node, [command, "--config", str(home / "coordinator.toml")])

        assert done.exit_code == code, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def append(home: Path, text: str) -> None:
    with (home / "coordinator.toml").open("a") as file:
        file.write("\n" + text)


def test_a_port_in_use_is_named(home):
    port = int(
        re.search(r"^port = (\d+)", (home / "coordinator.toml").read_text(), re.MULTILINE)[1]
    )
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()

        for command in ("run", "preflight"):
            done = CliRunner().invoke(node, [command, "--config", str(home / "coordinator.toml")])

            assert done.exit_code == 3
            assert str(port) in done.stderr


def test_one_directory_has_one_coordinator(home):
    with a_process(home):
        second = coordinator("run", "--config", str(home / "coordinator.toml"))

    assert second.returncode == 3
    assert "runs on" in second.stderr


def test_init_never_overwrites(home):
    words = ["init", str(home), "--federation", "x", "--address", "127.0.0.1:1"]
    again = CliRunner().invoke(node, words)

    assert again.exit_code == 3
    assert "exists already" in again.stderr


def test_nobody_there_is_exit_5_and_nobody_named_is_exit_4(home, tmp_path):
    absent = coordinator("site", "ls", "--as", str(home / "operator"))
    nameless = coordinator("site", "ls", cwd=tmp_path)

    assert absent.returncode == 5
    assert nameless.returncode == 4
    assert "RADFED_CREDENTIAL" in nameless.stderr


def test_a_question_by_command_says_partial_with_exit_8_and_refused_with_exit_7(home):
    async def story():
        with a_process(home):
            alpha = await enrolled(home, "alpha")
            beta = await enrolled(home, "beta")
            alpha.answering = lambda question: Answer(
                question_id=question.question_id,
                state=AnswerState.ANSWER_STATE_VALUE,
                cells=[Cell(values=["F"], state=AnswerState.ANSWER_STATE_VALUE, count=42)],
                sigma=10,
            )
            beta.answering = refused = lambda question: Answer(
                question_id=question.question_id,
                state=AnswerState.ANSWER_STATE_REFUSED_BUDGET,
                rule="budget_spent",
            )
            words = ("query", "run", "--where", "Modality = 'CT'", "--by", "PatientSex")
            operator = ("--as", str(home / "operator"))
            async with connected(alpha, beta):
                partial = await asyncio.to_thread(coordinator, *words, *operator, "--json")
                drawn = await asyncio.to_thread(coordinator, *words, *operator)
                alone = await asyncio.to_thread(
                    coordinator, *words, "--site", "alpha", *operator, "--json"
                )
                alpha.answering = refused
                nothing = await asyncio.to_thread(coordinator, *words, *operator, "--json")
                wrong = await asyncio.to_thread(
                    coordinator, "query", "run", "--where", "Modalty = 'CT'", *operator
                )
        assert (partial.returncode, alone.returncode, nothing.returncode) == (8, 0, 7)
        said = {site["site"]: site for site in document(partial)["sites"]}
        assert said["alpha"]["cells"][0]["count"] == 42
        assert (said["beta"]["state"], said["beta"]["rule"]) == ("REFUSED_BUDGET", "budget_spent")
        assert "42 ± 20" in drawn.stdout
        assert (wrong.returncode, "did you mean `Modality`" in wrong.stderr) == (2, True)

    asyncio.run(story())


async def enrolled(home: Path, site: str) -> gateway_client.FakeGateway:
    token = document(
        await asyncio.to_thread(
            coordinator, "site", "invite", site, "--as", str(home / "operator"), "--json"
        )
    )["token"]
    address = re.search(r'address = "(.*)"', (home / "operator/credential.toml").read_text())[1]
    return await gateway_client.enrol(token, address)


def test_a_coordinator_killed_in_the_middle_of_a_round_finishes_it(home, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "job.py").write_text("def train(cohort, weights, config): return weights\n")
    (bundle / "job.toml").write_text(
        dedent("""\
        name = "lesions"
        kind = "training"
        purpose = "A test."
        label = "lesion"
        rounds = 3
        [[cohort]]
        field = "Modality"
        values = ["CT"]
        [weights.w]
        shape = [2]
        """)
    )
    operator = ("--as", str(home / "operator"))
    updates: list[tuple[str, str]] = []

    def working(step: float, allowed: asyncio.Event):
        def work(gateway, task, _weights):
            if not allowed.is_set():
                return None  # still computing when the coordinator dies
            updates.append((gateway.site, task.task_id))
            outcome = TaskOutcome(state=TaskState.TASK_STATE_RELEASED, weight=1)
            if task.evaluate_only:
                return outcome, b""
            return outcome, write_tensors({"w": np.full(2, step, np.float32)})

        return work

    async def story():
        allowed = asyncio.Event()
        allowed.set()
        blocked = asyncio.Event()
        with a_process(home) as first:
            alpha, beta = await enrolled(home, "alpha"), await enrolled(home, "beta")
            alpha.working, beta.working = working(1.0, allowed), working(3.0, blocked)
            key = str(tmp_path / "vendor.key")
            assert coordinator("vendor", "keygen", key).returncode == 0
            async with connected(alpha, beta):
                words = ("job", "submit", str(bundle), "--key", key, *operator, "--json")
                submitted = await asyncio.to_thread(coordinator, *words)
                assert submitted.returncode == 0, submitted.stderr
                job = document(submitted)["job_id"]
                await until(lambda: alpha.settled and not alpha.unsettled and updates)

                first.end(signal.SIGKILL)
                blocked.set()
                with a_process(home):
                    watched = await asyncio.to_thread(
                        coordinator, "job", "watch", job, *operator, "--json"
                    )
                    fetched = await asyncio.to_thread(
                        coordinator, "job", "result", job, "-o", str(tmp_path / "model"), *operator
                    )
        assert document(watched)["stage"] == "finished", watched.stderr
        assert fetched.returncode == 0
        assert read_tensors((tmp_path / "model").read_bytes())["w"] == pytest.approx([6.0, 6.0])
        # Each hospital's part in each round was done once: nobody was asked twice for the same.
        assert sorted(set(updates)) == sorted(updates)

    asyncio.run(story())


async def until(claim, seconds: float = 20.0):
    for _ in range(int(seconds / 0.05)):
        if claim():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come true in time")


@pytest.mark.parametrize(
    ("app", "commands"),
    [
        (node, ("init", "run", "status", "preflight", "credential")),
        (site, ("invite", "ls")),
        (query, ("run", "explain", "ls")),
        (job, ("submit", "ls", "show", "watch", "stop", "result")),
        (vendor, ("keygen",)),
    ],
)
def test_every_command_explains_itself(app, commands):
    for words in ([], *([command] for command in commands)):
        done = CliRunner().invoke(app, [*words, "--help"])

        assert done.exit_code == 0, words
        assert "Usage" in done.stdout


def test_python_m_coordinator_has_them_all():
    done = coordinator("--help")

    assert done.returncode == 0
    for group in ("init", "run", "status", "site", "query", "job", "vendor"):
        assert group in done.stdout


def test_make_writes_settings_that_can_be_read(tmp_path):
    make(tmp_path / "x", "[console]\nport = 0\n")

    words = ["preflight", "--config", str(tmp_path / "x" / "coordinator.toml"), "--json"]
    done = CliRunner().invoke(node, words)

    assert json.loads(done.stdout)["ready"] is True
