"""The demo as a user starts it: it ends well, and its proof holds."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.flow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-c", "from deploy.demo.cli import demo; demo()"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Run `radfed demo --json` once; return what it measured."""
    keep = tmp_path_factory.mktemp("demo") / "federation"
    words = [*DEMO, "--json", "--keep", str(keep)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout) | {"home": keep}


def test_every_instance_is_stored_or_in_quarantine_with_a_reason(told):
    for push, gateway, quarantine in zip(
        told["push"], told["gateways"], told["quarantine"], strict=True
    ):
        assert push["acknowledged"] == push["files"]
        assert gateway["stored"]["instances"] + sum(quarantine.values()) == push["files"]
        assert all(quarantine)


def test_each_hospitals_ledger_is_what_its_proxy_saw_and_the_coordinator_received(told):
    assert len(told["bytes"]) == 3
    for counted in told["bytes"].values():
        assert counted["wire"] == counted["received"] == counted["ledger"] > 0
        assert counted["strangers"] == 0
        assert 0 < counted["framing"] < counted["wire"]


def test_nothing_that_was_planted_is_on_the_wire(told):
    wire = sum(counted["wire"] + counted["framing"] for counted in told["bytes"].values())
    assert told["scan"]["bytes"] >= wire > 10_000
    assert (told["scan"]["texts"], told["scan"]["images"]) == (0, 0)


def test_the_same_scan_finds_all_of_it_in_the_leaky_control(told):
    assert told["control"]["texts"] > 1000
    assert told["control"]["images"] > 1000


def test_no_identity_rests_in_the_clear_in_a_hospital(told):
    assert told["at_rest"]["bytes"] > 1_000_000
    assert told["at_rest"]["texts"] == 0


def test_questions_are_answered_and_refused(told):
    assert told["answer"]["total"]["answered"] == 3
    assert told["refused_vocabulary"]["exit_code"] == 2
    assert told["refused_policy"]["state"] == "REFUSED_POLICY"
    assert told["refused_unsigned"]["exit_code"] == 6
    assert set(told["refused_unsigned"]["rules"].values()) == {"unsigned"}


def test_the_federated_model_is_better_than_each_hospitals_own(told):
    reached = {model: figures["all"] for model, figures in told["auc"].items()}

    federated = reached.pop("federated")

    assert len(reached) == 3
    assert federated > max(reached.values())
    assert len(told["rounds"]["federated"]["pooled"]) > 1


def test_of_a_secure_sum_the_coordinator_has_the_sum_alone(told):
    summed = told["summed"]

    assert summed["stage"] == "finished"
    assert summed["pooled"][-1]["auc"] > 0.6
    assert {row["site"] for row in summed["rounds"]} == set(told["bytes"])
    assert not any(row.get("auc") for row in summed["rounds"])


def test_nothing_stays_behind(told):
    assert told["restarts"] == {}
    assert not list((told["home"] / "run").glob("*.pid"))
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        assert os.fsencode(told["home"]) not in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--keep", str(ROOT)], "not an empty directory"),
        (["--data", "/nowhere/at/all"], "not a directory"),
    ],
)
def test_a_wrong_directory_is_one_sentence(words, says):
    done = subprocess.run([*DEMO, *words], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 3
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_sigterm_in_the_middle_ends_everything(tmp_path):
    home = tmp_path / "federation"
    demo = subprocess.Popen(
        [*DEMO, "--keep", str(home)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(list((home / "run").glob("gateway-*.pid"))) < 3:
        assert demo.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)

    demo.terminate()
    _, complained = demo.communicate(timeout=120)

    assert demo.returncode == 130
    assert complained.strip() == "radfed: stopped before the end"
    assert not list((home / "run").glob("*.pid"))
