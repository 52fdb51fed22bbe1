"""The back-fill as an operator types it: a real gateway, a real Orthanc, real processes."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.fakes.archives import a_study, free_port, orthanc, running
from tests.fakes.receiver import eventually

pytestmark = pytest.mark.flow
GATEWAY = [sys.executable, "-m", "gateway"]


def ask(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GATEWAY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@contextmanager
def a_gateway(directory: Path, port: int, pacs):
    config = directory / "gateway.toml"
    made = ask(
        *("init", "--config", config, "--site", "spring", "--data", directory / "data"),
        *("--host", "127.0.0.1", "--port", port, "--console-port", free_port()),
        *("--peer", f"pacs={pacs.ae_title}@127.0.0.1:{pacs.port}", "--reserve-bytes", 1 << 20),
        *("--recovery-code-file", directory / "recovery-code"),
    )
    assert made.returncode == 0, made.stderr
    with (directory / "gateway.log").open("wb") as log:
        run = subprocess.Popen([*GATEWAY, "run", "--config", str(config)], stderr=log)
    try:
        eventually((directory / "data" / "run" / "node.json").exists, 30)
        yield config
    finally:
        run.terminate()
        run.wait(60)


def indexed(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "data" / "index.db")) as index:
        return index.execute("SELECT count(*) FROM instance").fetchone()[0]


def test_a_week_is_fetched_killed_and_fetched_to_its_end(tmp_path):
    port = free_port()
    studies = [a_study(f"201901{day:02}", "CT", patient=f"P{day}") for day in range(1, 7)]
    others = a_study("20190102", "MR") + a_study("20190109", "CT")

    with running(orthanc(tmp_path / "pacs", port)) as pacs, a_gateway(tmp_path, port, pacs) as conf:
        pacs.add([instance for study in studies for instance in study] + others)
        asked = ("fetch", "--config", conf, "--from", "pacs", "--date", "2019-01-01..2019-01-08")
        asked += ("--modality", "CT", "--json")
        slowly = [*GATEWAY, *map(str, asked), "--studies-per-hour", "400"]
        killed = subprocess.Popen(slowly, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        eventually(lambda: indexed(tmp_path) >= 4, 90)
        second = ask(*asked)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        rest = ask(*asked)
        eventually(lambda: indexed(tmp_path) == 12, 30)

    assert second.returncode == 3
    assert "a back-fill runs already" in second.stderr
    assert rest.returncode == 0, rest.stderr
    document = json.loads(rest.stdout)
    assert document["complete"]
    assert document["studies"] == 6
    assert document["fetched"] + document["already_here"] == 6
    assert document["already_here"] >= 1


def test_sigterm_ends_it_and_says_so(tmp_path):
    port = free_port()

    with running(orthanc(tmp_path / "pacs", port)) as pacs, a_gateway(tmp_path, port, pacs) as conf:
        pacs.add(a_study("20190301", "CT") + a_study("20190302", "CT"))
        command = [*GATEWAY, "fetch", "--config", str(conf), "--from", "pacs"]
        command += ["--date", "2019-03-01..2019-03-02", "--studies-per-hour", "10", "--json"]
        fetching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        eventually(lambda: indexed(tmp_path) == 2, 60)
        time.sleep(0.2)
        fetching.terminate()
        said, _ = fetching.communicate(timeout=60)

    document = json.loads(said)
    assert fetching.returncode == 8
    assert (document["fetched"], document["stopped"]) == (1, "asked to stop")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--from", "pacs", "--date", "2019"], 4, "dates are written"),
        (["--from", "nobody", "--date", "2019-01-01"], 4, "the settings name: pacs"),
        (["--from", "pacs", "--date", "2019-01-01", "--hours", "9"], 4, "hours are written"),
        (["--from", "pacs", "--date", "2019-01-01"], 5, "cannot be reached"),
        (["--from", "pacs"], 2, "--date"),
    ],
)
def test_a_wrong_order_is_one_sentence(tmp_path, arguments, code, says):
    peer = f"pacs=PACS@127.0.0.1:{free_port()}"
    config = tmp_path / "gateway.toml"
    ask(
        *("init", "--config", config, "--site", "spring", "--data", tmp_path / "data"),
        *("--peer", peer, "--recovery-code-file", tmp_path / "recovery-code"),
    )

    answer = ask("fetch", "--config", config, *arguments)

    assert answer.returncode == code
    assert says in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
