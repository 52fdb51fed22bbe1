"""A submission that was killed goes on at the byte where it ended."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.fakes.federation import make
from tests.flow.test_coordinator_process import a_process, coordinator, enrolled

pytestmark = pytest.mark.flow
MANIFEST = """
name = "large"
kind = "training"
purpose = "A model that takes a while to upload."
label = "lesion"
[[cohort]]
field = "Modality"
values = ["CT"]
[weights.w]
shape = [6_000_000]
"""
MEBI = 1 << 20


class Counter:
    """Passes connections on to the coordinator, counts what goes up, and holds it to a pace."""

    def __init__(self, port, pace):
        self.up, self.pace, self._to = 0, pace, port
        self._door = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self):
        return self._door.getsockname()[1]

    def _accept(self):
        while True:
            here, _ = self._door.accept()
            there = socket.create_connection(("127.0.0.1", self._to))
            for ends in ((here, there, True), (there, here, False)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source, target, up):
        try:
            while chunk := source.recv(64 << 10):
                target.sendall(chunk)
                if up:
                    self.up += len(chunk)
                    time.sleep(len(chunk) / self.pace)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()


def through(home, credential, pace):
    """Copy an operator's credential, with a counter in the coordinator's place."""
    text = (home / "operator" / "credential.toml").read_text()
    counter = Counter(int(re.search(r":(\d+)\"", text)[1]), pace)
    credential.mkdir()
    for file in (home / "operator").iterdir():
        (credential / file.name).write_bytes(file.read_bytes())
        (credential / file.name).chmod(0o600)
    toml = re.sub(r":\d+\"", f':{counter.port}"', text)
    (credential / "credential.toml").write_text(toml)
    return counter


def test_a_killed_submission_goes_on_at_the_byte_where_it_ended(tmp_path):
    home, bundle = tmp_path / "c", tmp_path / "bundle"
    make(home)
    bundle.mkdir()
    (bundle / "job.toml").write_text(MANIFEST)
    (bundle / "job.py").write_text("def train(cohort, weights, config): return weights\n")
    model = tmp_path / "model.safetensors"
    model.write_bytes(save({"w": np.random.default_rng(1).random(6_000_000, np.float32)}))
    size, key = model.stat().st_size, str(tmp_path / "vendor.key")
    assert coordinator("vendor", "keygen", key).returncode == 0
    slow = through(home, tmp_path / "slow", 12 * MEBI)
    fast = through(home, tmp_path / "fast", 1000 * MEBI)
    words = ["job", "submit", str(bundle), "--key", key, "--weights", str(model), "--json"]

    with a_process(home):
        asyncio.run(enrolled(home, "alpha"))
        killed = subprocess.Popen(
            [sys.executable, "-m", "coordinator", *words, "--as", str(tmp_path / "slow")],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.DEVNULL,
        )
        while slow.up < size // 2:
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
        killed.wait()
        time.sleep(1.0)  # what was on its way arrives
        done = coordinator(*words, "--as", str(tmp_path / "fast"))

    assert done.returncode == 0, done.stderr
    resumed = json.loads(done.stdout)["weights_resumed_at"]
    assert size // 4 < resumed < size
    assert fast.up < size - resumed + MEBI
