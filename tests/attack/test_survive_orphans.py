"""A gateway killed in its first second: its receivers must not outlive it and hold the port."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.running import Gateway, environment

pytestmark = pytest.mark.attack


def test_receivers_that_still_load_die_with_the_gateway_that_started_them(tmp_path):
    gateway = Gateway(tmp_path)
    running = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run"],
        cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ends = time.monotonic() + 30
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while not (born := [int(pid) for pid in children.read_text().split() if a_receiver(pid)]):
        assert time.monotonic() < ends

    running.send_signal(signal.SIGKILL)
    running.wait()

    while any(map(a_receiver, born)):  # a zombie has no command line
        if time.monotonic() > ends:
            for pid in born:
                os.kill(pid, signal.SIGKILL)
            pytest.fail("a receiver outlived its gateway")
        time.sleep(0.05)
    try:
        gateway.start()
    finally:
        gateway.destroy()


def a_receiver(pid):
    try:
        return b"intake-worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
