"""The same sandbox, started by an ordinary user without a cgroup of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"),
        reason="only root can become an ordinary user; as one, the other tests say the same",
    ),
]

REPOSITORY = Path(__file__).resolve().parents[2]
USER = "54321"
# An interpreter may lie in root's private home: this shows it, the packages and the repository at
# places everybody can reach, in a mount namespace of the test's own.
STAGE = """
set -e
mount --make-rprivate /
for name in base packages repository; do mount --bind "$1" "$STAGED/$name"; shift; done
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups \
    "$STAGED/base/bin/$(basename "$1")" "$STAGED/main.py"
"""
MAIN = """
import sys
sys.path[:0] = [{repository!r}, {packages!r}]
import dataclasses, os, pathlib, tempfile
from gateway.sandbox import interpreter
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Runner
from tests.attack import test_sandbox_limits as limits
from tests.fakes import vendor

assert os.geteuid() == {user}
runner = Runner.on_this_machine(limits.LIMITS)
assert runner.counts_memory_by == "rlimits", runner.counts_memory_by
assert runner.self_test() == [], runner.self_test()


def outcome(code):
    with tempfile.TemporaryDirectory() as folder:
        return vendor.run(runner, pathlib.Path(folder), code, wall_seconds=10)


bomb = outcome(limits.FORK_BOMB)
assert float(bomb.outputs["predictions.csv"].decode().split(",")[-1]) * 1000 <= 40, bomb
for hog in (limits.ONE_HOG, limits.MANY_HOGS, limits.TMPFS_HOG):
    ended = outcome(hog)
    assert ended.code in (FailureCode.OUT_OF_MEMORY, FailureCode.OUTPUT_LIMIT), (ended.code, hog)
outcome(limits.DAEMON)
assert not limits.processes_named("radfed-outliving-daemon")
print("held")
"""


def test_the_sandbox_holds_for_an_ordinary_user():
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        staged.chmod(0o755)
        for name in ("base", "packages", "repository"):
            (staged / name).mkdir()
        (staged / "main.py").write_text(
            MAIN.format(
                repository=str(staged / "repository"), packages=str(staged / "packages"), user=USER
            )
        )

        finished = subprocess.run(
            ["unshare", "--mount", "sh", "-c", STAGE, "sh", sys.base_prefix,
             sysconfig.get_path("purelib"), str(REPOSITORY), Path(sys.executable).resolve()],
            env={"STAGED": str(staged), "USER_ID": USER, "PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
            timeout=120,
        )  # fmt: skip

    assert finished.stdout.decode().strip() == "held", finished.stderr.decode()
