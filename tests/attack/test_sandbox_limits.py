"""What a vendor's code tries against the machine: its memory, processes, time and disk."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model import Isolation
from gateway.sandbox import watchdog
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Finished, JobFailed, Runner
from tests.fakes import isolating, vendor

pytestmark = pytest.mark.attack

OTHERS_TAKE = 1 << 30  # the machine does other things meanwhile; a bomb would take far more
LIMITS = Limits(memory_bytes=192 << 20, processes=40, output_bytes=4 << 20)
FORK_BOMB = """
    import os, time

    def predict(cohort, weights, config):
        made = 0
        try:
            while made < 500:
                if os.fork() == 0:
                    time.sleep(600)
                    os._exit(0)
                made += 1
        except OSError:
            pass
        return {"made": made / 1000}
"""
ONE_HOG = """
    def predict(cohort, weights, config):
        held = []
        while True:
            held.append(bytearray(b"x" * (8 << 20)))
"""
MANY_HOGS = """
    import os, time

    def predict(cohort, weights, config):
        for _ in range(12):
            if os.fork() == 0:
                held = bytearray(b"x" * (40 << 20))
                time.sleep(600)
        time.sleep(600)
"""
TMPFS_HOG = """
    def predict(cohort, weights, config):
        for number in range(64):
            for folder in ("/tmp", "/dev/shm"):
                with open(f"{folder}/{number}", "wb") as file:
                    file.write(b"x" * (8 << 20))
        return {}
"""
DAEMON = """
    import os, signal
    SLEEP = "import time; time.sleep(600)"

    def predict(cohort, weights, config):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv("/proc/self/exe", ["radfed-outliving-daemon", "-c", SLEEP])
            os._exit(0)
        return {}
"""
HANGS = """
    import signal, time

    def predict(cohort, weights, config):
        for number in range(1, 32):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            time.sleep(600)
"""


@pytest.fixture(params=isolating.EITHER)
def isolation(request):
    return request.param


@pytest.fixture(params=["cgroup", "rlimits"])
def runner(request, isolation):
    found = Runner.on_this_machine(LIMITS, isolation=isolation)
    if request.param == "rlimits":
        return found.without_cgroups()
    if found.counts_memory_by == "rlimits":
        pytest.skip("this machine gives us no cgroup")
    return found


def test_a_fork_bomb_ends_at_the_limit(runner, tmp_path):
    if os.geteuid() == 0 and runner.counts_memory_by == "rlimits":
        pytest.skip("process limits do not bind root, and jobs are refused then")
    if runner.isolation is Isolation.GVISOR:  # there a process costs some 13 MiB more
        runner = roomy(runner)
    outcome = vendor.run(runner, tmp_path, FORK_BOMB)

    assert isinstance(outcome, Finished)
    made = float(outcome.outputs["predictions.csv"].decode().split(",")[-1]) * 1000
    assert made <= LIMITS.processes


@pytest.mark.parametrize("code", [ONE_HOG, MANY_HOGS], ids=["one", "many"])
def test_a_memory_bomb_ends_at_the_limit(runner, tmp_path, code):
    before = available_memory()

    outcome = vendor.run(runner, tmp_path, code)

    assert outcome.code is FailureCode.OUT_OF_MEMORY
    assert available_memory() > before - LIMITS.memory_bytes - OTHERS_TAKE


def test_memory_hidden_in_files_counts(runner, tmp_path):
    outcome = vendor.run(runner, tmp_path, TMPFS_HOG)

    assert isinstance(outcome, JobFailed)
    assert outcome.code in (FailureCode.OUT_OF_MEMORY, FailureCode.OUTPUT_LIMIT)


def test_a_job_that_ignores_every_signal_ends_at_the_wall_limit(runner, tmp_path):
    began = time.monotonic()

    outcome = vendor.run(runner, tmp_path, HANGS, wall_seconds=1.0)

    assert outcome.code is FailureCode.WALL_LIMIT
    assert time.monotonic() - began < 10


def test_a_withdrawn_job_ends_at_once(runner, tmp_path):
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    began = time.monotonic()

    outcome = vendor.run(runner, tmp_path, HANGS, cancelled=cancelled)

    assert outcome.code is FailureCode.WITHDRAWN
    assert time.monotonic() - began < 10


def test_a_daemon_does_not_outlive_its_job(runner, tmp_path):
    outcome = vendor.run(runner, tmp_path, DAEMON)

    assert isinstance(outcome, Finished)
    assert not processes_named("radfed-outliving-daemon")
    assert not kernels_below(os.getpid())


def test_an_output_over_the_cap_does_not_come_out(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        def predict(cohort, weights, config):
            with open("/job/out/weights.safetensors", "wb") as file:
                for _ in range(64):
                    file.write(b"x" * (1 << 20))
            return {}
        """,
    )

    assert outcome.code is FailureCode.OUTPUT_LIMIT


def test_files_that_together_pass_the_cap_do_not_come_out(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        def predict(cohort, weights, config):
            for name in ("weights.safetensors", "metrics.json"):
                with open(f"/job/out/{name}", "wb") as file:
                    file.truncate(3 << 20)  # sparse: costs the job nothing
            return {}
        """,
    )

    assert outcome.code is FailureCode.OUTPUT_LIMIT


def test_a_job_dies_with_its_gateway(isolation, tmp_path):
    bundle = vendor.a_bundle(
        tmp_path / "bundle",
        """
        import os
        SLEEP = "import time; time.sleep(600)"

        def predict(cohort, weights, config):
            os.execv("/proc/self/exe", ["radfed-orphaned-job", "-c", SLEEP])
        """,
    )
    vendor.a_cohort_of_nobody(tmp_path / "cohort")
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(bundle), str(tmp_path / "cohort"), isolation]
    )
    in_gvisor = isolation is Isolation.GVISOR  # whose processes this machine does not name
    wait_until(
        lambda: kernels_below(gateway.pid) if in_gvisor else processes_named("radfed-orphaned-job")
    )
    tree = watchdog._descendants(gateway.pid)

    gateway.kill()
    gateway.wait()

    wait_until(lambda: not any(Path("/proc", str(process)).exists() for process in tree))


GATEWAY = """
import sys, threading
from pathlib import Path
from gateway.model import Isolation
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from gateway.sandbox.workspace import Workspace
limits = Limits(memory_bytes=256 << 20)
runner = Runner.on_this_machine(limits, isolation=Isolation(sys.argv[3]))
cohort = Workspace(Path(sys.argv[2]), "", 0, 0, {})
runner.run(Path(sys.argv[1]), cohort, None, {}, 60, threading.Event())
"""


def processes_named(name):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.split(b"\0")[0] == name.encode():
                found.append(int(entry.name))
    return found


def kernels_below(process):
    return watchdog._descendants(process).intersection(processes_named("runsc-sandbox"))


def roomy(runner):
    limits = replace(runner.limits, memory_bytes=1 << 30)
    return Runner(limits, runner._runtime, runner.confinement, runner._groups)


def wait_until(claim, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def available_memory():
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in x)
    return int(line.split()[1]) << 10
