"""`preflight` accepts the example settings, once they name this machine's own places."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.flow

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


def radfed(house, *words):
    done = subprocess.run(
        [sys.executable, "-m", house, *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_preflight_accepts_the_example_gateway_and_policy(tmp_path):
    config, data = tmp_path / "gateway.toml", tmp_path / "data"
    radfed("gateway", "init", "--site", "tongji", "--data", str(data), "--config", str(config))
    text = (EXAMPLES / "gateway.toml").read_text()
    for theirs, ours in (
        ('data = "/var/lib/radfed"', f"data = {json.dumps(str(data))}"),
        ('run_as = "radfed"', ""),
        ("port = 11112", "port = 0"),
        ("reserve_bytes = 2147483648", "reserve_bytes = 1048576"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours, 1)
    config.write_text(text)
    (data / "policy.toml").write_text((EXAMPLES / "policy.toml").read_text())

    findings = radfed("gateway", "preflight", "--config", str(config))

    assert all(finding["ok"] for finding in findings)
    assert {"policy", "profile", "sandbox"} <= {finding["check"] for finding in findings}


def test_preflight_accepts_the_example_coordinator(tmp_path):
    home = tmp_path / "federation"
    address = ["--address", "coordinator.example.org:8443"]
    radfed("coordinator", "init", str(home), "--federation", "lungs", *address)
    text = (EXAMPLES / "coordinator.toml").read_text()
    assert "port = 8443" in text
    (home / "coordinator.toml").write_text(text.replace("port = 8443", "port = 0", 1))

    radfed("coordinator", "preflight", "--config", str(home / "coordinator.toml"))


def test_five_waits_of_the_link_are_left_to_people(tmp_path):
    """What else waits on the way between the houses has a default that nobody tunes."""
    config, home = tmp_path / "gateway.toml", tmp_path / "federation"
    radfed("gateway", "init", "--site", "tongji", "--data", str(tmp_path / "data"),
           "--config", str(config))  # fmt: skip
    radfed("coordinator", "init", str(home), "--federation", "lungs", "--address", "radfed.test:1")
    made = [tomllib.loads(file.read_text()) for file in (config, home / "coordinator.toml")]
    shown = [tomllib.loads(file.read_text()) for file in sorted(EXAMPLES.glob("[cg]*.toml"))]

    for files in (made, shown):
        waits = {
            f"{table}.{key}"
            for file in files
            for table in ("link", "questions", "federation", "jobs")
            for key in file.get(table, {})
            if "seconds" in key
        }
        # Two clocks' difference and a job's own wall are limits, not waits of the link.
        assert waits - {"federation.clock_skew_seconds_at_most", "jobs.wall_seconds"} == {
            "link.heartbeat_seconds",
            "questions.deadline_seconds",
            "jobs.decision_seconds",
            "jobs.round_seconds",
            "federation.reconnect_seconds_at_most",
        }
