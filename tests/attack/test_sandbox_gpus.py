"""A job has the graphics processors it was given, and no other device; the cards here are made up.

Their nodes are /dev/null's, in a directory of the test's own: no real card has been seen.
"""

import os
import stat
import threading
import time
from contextlib import ExitStack

import pytest

from gateway.model import Isolation
from gateway.sandbox import gpus
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Finished, Runner
from tests.fakes import isolating, vendor

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the device nodes of a test"),
]

NULL = os.makedev(1, 3)
ALWAYS = {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr",
          "shm", "pts", "ptmx", "core"}  # fmt: skip
LOOKS = """
    import os

    def predict(cohort, weights, config):
        found = {f"dev/{name}": 1.0 for name in os.listdir("/dev")}
        for name in os.listdir("/dev"):
            if name.startswith("nvidia"):
                with open(f"/dev/{name}", "r+b", buffering=0) as card:
                    found[f"used/{name}"] = float(card.write(b"x") == 1)
        if "LD_LIBRARY_PATH" in os.environ:
            driver = os.environ["LD_LIBRARY_PATH"]
            found |= {f"driver/{name}": 1.0 for name in os.listdir(driver)}
            with open(f"{driver}/libcuda.so.1", "rb") as library:
                found["content"] = float(library.read() == b"the driver")
            try:
                open(f"{driver}/libcuda.so.1", "r+b")
            except OSError:
                found["read only"] = 1.0
        return found
"""
HOLDS = """
    import time

    def predict(cohort, weights, config):
        time.sleep(1.5)
        return {}
"""


@pytest.fixture
def machine(tmp_path):
    """A directory as `/` of a machine with two cards, and with names that are none."""
    root = tmp_path / "machine"
    devices, libraries = root / "dev", root / "usr" / "lib64"
    devices.mkdir(parents=True)
    libraries.mkdir(parents=True)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset"):
        os.mknod(devices / name, 0o666 | stat.S_IFCHR, NULL)
    (devices / "nvidia2").symlink_to("/dev/mem")
    (devices / "nvidia3").write_text("no device")
    (libraries / "libcuda.so.550.1").write_bytes(b"the driver")
    (libraries / "libcuda.so.1").symlink_to("libcuda.so.550.1")
    (root / "etc" / "ld.so.conf.d").mkdir(parents=True)
    (root / "etc" / "ld.so.conf.d" / "maker.conf").write_text("# elsewhere\n/opt/maker/lib\n")
    (root / "opt" / "maker" / "lib").mkdir(parents=True)
    (root / "opt" / "maker" / "lib" / "libnvidia-ml.so.1").write_bytes(b"")
    (libraries / "libnvidia-glcore.so.550.1").write_bytes(b"draws")
    (libraries / "libsecret.so.0").write_bytes(b"another's")
    return root


@pytest.fixture
def turns(machine, tmp_path):
    return gpus.Turns(gpus.find(machine), tmp_path / "locks")


@pytest.fixture
def runner(turns):
    return Runner.on_this_machine(Limits(memory_bytes=512 << 20), turns=turns)


def run(runner, folder, code, wanted, wall_seconds=20.0, cancelled=None):
    bundle = vendor.a_bundle(folder / "bundle", code)
    cohort = vendor.a_cohort_of_nobody(folder / "cohort")
    told = cancelled or threading.Event()
    return runner.run(bundle, cohort, None, {}, wall_seconds, told, gpus=wanted)


def seen(outcome, place):
    assert isinstance(outcome, Finished), outcome.log.decode()
    rows = (line.split(",") for line in outcome.outputs["predictions.csv"].decode().split("\n")[1:])
    held = {row[0] for row in rows if len(row) == 2 and float(row[1])}
    return {name.partition("/")[2] for name in held if name.startswith(f"{place}/")} or held


def test_a_job_has_its_own_card_the_driver_and_nothing_else_of_dev(runner, tmp_path):
    outcome = run(runner, tmp_path, LOOKS, 1)

    assert runner.gpus == 2
    assert seen(outcome, "dev") - ALWAYS == {"nvidia0", "nvidiactl", "nvidia-uvm"}
    assert seen(outcome, "used") == {"nvidia0", "nvidiactl", "nvidia-uvm"}
    assert seen(outcome, "driver") == {"libcuda.so.1", "libcuda.so.550.1", "libnvidia-ml.so.1"}
    assert {"content", "read only"} <= seen(outcome, "nowhere")


def test_a_job_that_declares_none_sees_none(runner, tmp_path):
    outcome = run(runner, tmp_path, LOOKS, 0)

    assert seen(outcome, "dev") <= ALWAYS
    assert not any(name.startswith(("used", "driver")) for name in seen(outcome, "nowhere"))


def test_two_jobs_never_have_one_card(runner, turns, tmp_path):
    ended = {}

    def start(name):
        (tmp_path / name).mkdir()
        ended[name] = (run(runner, tmp_path / name, HOLDS, 1), time.monotonic())

    jobs = [threading.Thread(target=start, args=(name,)) for name in ("a", "b", "c")]
    began = time.monotonic()
    for job in jobs:
        job.start()
    time.sleep(1.0)
    assert turns.take(1, ExitStack()) is None  # both are taken, whoever asks
    for job in jobs:
        job.join()

    assert all(isinstance(outcome, Finished) for outcome, _ in ended.values())
    assert max(at for _, at in ended.values()) - began >= 3.0  # the third waited for its turn


def test_a_job_that_waits_for_a_card_can_be_withdrawn(runner, turns, tmp_path):
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()

    with ExitStack() as held:
        assert turns.take(2, held) is not None
        outcome = run(runner, tmp_path, HOLDS, 1, cancelled=cancelled)

    assert outcome.code is FailureCode.WITHDRAWN


def test_who_waits_for_two_cards_holds_none_meanwhile(turns):
    with ExitStack() as one, ExitStack() as two:
        assert turns.take(1, one) is not None
        assert turns.take(2, two) is None
        assert turns.take(1, two) is not None  # the second card is anybody's

    with ExitStack() as both:
        assert len(turns.take(2, both).devices) == 4


def test_more_cards_than_there_are_fail_at_once(runner, tmp_path):
    outcome = run(runner, tmp_path, HOLDS, 3)

    assert outcome.code is FailureCode.SANDBOX_FAULT
    assert outcome.seconds == 0


@pytest.mark.parametrize("missing", ["nvidiactl", "nvidia-uvm"])
def test_without_its_control_node_there_is_no_card(machine, missing):
    (machine / "dev" / missing).unlink()

    assert gpus.find(machine).cards == ()


def test_without_its_driver_there_is_no_card(machine):
    (machine / "usr" / "lib64" / "libcuda.so.1").unlink()
    (machine / "usr" / "lib64" / "libcuda.so.550.1").unlink()

    assert gpus.find(machine).cards == ()


@isolating.WITHOUT_GVISOR
def test_gvisor_lets_no_card_through(turns, tmp_path):
    limits = Limits(memory_bytes=512 << 20)
    runner = Runner.on_this_machine(limits, isolation=Isolation.GVISOR, turns=turns)

    assert runner.gpus == 0
    assert run(runner, tmp_path, LOOKS, 1).code is FailureCode.SANDBOX_FAULT
