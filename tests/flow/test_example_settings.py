"""`preflight` accepts the example settings, once they name this machine's own places."""

import json
import subprocess
import sys
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
