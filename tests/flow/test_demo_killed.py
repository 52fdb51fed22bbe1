"""Killed in the middle of a push and of a round, the federation still ends right."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.flow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-c", "from deploy.demo.cli import demo; demo()"]
PATIENCE = 400.0


def kill(home, name):
    pid = int((home / "run" / f"{name}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    return pid


def wait(demo, happened):
    """Wait for a moment of the run; fail when the demo ends before it comes."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert demo.poll() is None, "the demo ended too soon"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stored(home, site):
    return sum(1 for _ in (home / site / "data" / "store").rglob("*.dcm"))


def recorded(home, site, word):
    record = home / "coordinator" / "record" / f"gateway.{site}.bin"
    return record.read_bytes().count(word) if record.exists() else 0


def test_a_killed_gateway_and_a_killed_coordinator_change_nothing_of_the_outcome(tmp_path):
    home = tmp_path / "federation"
    words = [*DEMO, "--json", "--keep", str(home)]
    with (tmp_path / "said").open("w+") as said, (tmp_path / "complained").open("w+") as complained:
        demo = subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=complained, text=True)
        try:
            wait(demo, lambda: stored(home, "anlan") > 60)
            in_push = (kill(home, "gateway-anlan"), stored(home, "anlan"))
            wait(demo, lambda: recorded(home, "beihe", b"LinkService/Push") >= 1)
            in_round = kill(home, "coordinator")
            wait(demo, lambda: recorded(home, "chengxi", b"LinkService/Push") >= 3)
            kill(home, "gateway-chengxi")
            demo.wait(PATIENCE)
        finally:
            if demo.poll() is None:
                demo.terminate()
                demo.wait(60)
        complained.seek(0)
        assert demo.returncode == 0, complained.read()[-6000:]
        said.seek(0)
        told = json.load(said)

    assert in_push[1] < told["push"][0]["files"]
    assert in_round
    assert set(told["restarts"]) == {"gateway-anlan", "coordinator", "gateway-chengxi"}
    for push, gateway, quarantine in zip(
        told["push"], told["gateways"], told["quarantine"], strict=True
    ):
        assert push["acknowledged"] == push["files"]
        assert gateway["stored"]["instances"] + sum(quarantine.values()) == push["files"]
    assert told["push"][0]["associations"] > 1
    assert told["federated_is_better"]
    assert (told["scan"]["texts"], told["scan"]["images"], told["at_rest"]["texts"]) == (0, 0, 0)
    # What a crash cut short may be in the ledger and not have arrived; never the other way round.
    for counted in told["bytes"].values():
        assert counted["ledger"] >= counted["received"]
        assert counted["strangers"] == 0
