"""Starts the suite as an ordinary user, whoever runs the tests, in a cgroup or without one."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SUITE = "tests/attack/sandbox/suite.py"
USER = "54321"
CGROUPS = Path("/sys/fs/cgroup")
# An interpreter may lie in root's private home: this shows it, the packages and the repository at
# places everybody can reach, in a mount namespace of the test's own. A cgroup is delegated as
# systemd would: version 2 in a leaf of our own subtree, version 1 as a directory of the user's.
STAGE = """
set -e
mount --make-rprivate /
for name in base packages repository; do mount --bind "$1" "$STAGED/$name"; shift; done
install -m 4755 "$(command -v id)" "$STAGED/setuid"
delegate() {
    if grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
        home="/sys/fs/cgroup/$CAGE"
        echo "+memory +pids" > /sys/fs/cgroup/cgroup.subtree_control
        mkdir -p "$home/gateway" && echo "+memory +pids" > "$home/cgroup.subtree_control"
        chown -R "$USER_ID" "$home" && echo $$ > "$home/gateway/cgroup.procs"
    else
        for controller in memory pids cpu; do
            ours="/sys/fs/cgroup/$controller/radfed"
            mkdir -p "$ours/$CAGE" && chown -R "$USER_ID" "$ours/$CAGE"
            mount --bind "$ours/$CAGE" "$ours"
        done
    fi
}
case "$MODE" in *cgroup) delegate 2>/dev/null || true;; esac
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups \
    "$STAGED/base/bin/$(basename "$1")" -B "$STAGED/main.py" "$MODE"
"""
MAIN = """
import runpy, sys
sys.path[:0] = [{repository!r}, {packages!r}]
runpy.run_path({repository!r} + "/{suite}", run_name="__main__")
"""


def attempt(mode: str):
    """Return what the suite says of one mode, run by an ordinary user."""
    return _read(_staged(mode) if os.geteuid() == 0 else _direct(mode))


def attempt_as_root():
    """Return what worked unconfined for root: some attacks only ever work for it."""
    return _read(_direct("unconfined")) if os.geteuid() == 0 else {"worked": {}}


def _direct(mode: str):
    program = MAIN.format(repository=str(REPOSITORY), packages="", suite=SUITE)
    return subprocess.run(
        [sys.executable, "-B", "-c", program, mode], capture_output=True, check=False, timeout=240
    )


def _staged(mode: str):
    with tempfile.TemporaryDirectory() as folder:
        staged, cage = Path(folder), f"radfed-delegated-{os.getpid()}"
        staged.chmod(0o755)
        for name in ("base", "packages", "repository"):
            (staged / name).mkdir()
        places = {name: str(staged / name) for name in ("repository", "packages")}
        (staged / "main.py").write_text(MAIN.format(suite=SUITE, **places))
        try:
            return subprocess.run(
                ["unshare", "--mount", "sh", "-c", STAGE, "sh", sys.base_prefix,
                 sysconfig.get_path("purelib"), str(REPOSITORY), Path(sys.executable).resolve()],
                env={"STAGED": folder, "USER_ID": USER, "MODE": mode, "CAGE": cage,
                     "SETUID": f"{folder}/setuid", "PATH": os.environ["PATH"]},
                capture_output=True,
                check=False,
                timeout=240,
            )  # fmt: skip
        finally:
            for left in (
                f"{cage}/gateway",
                cage,
                f"memory/radfed/{cage}",
                f"pids/radfed/{cage}",
                f"cpu/radfed/{cage}",
            ):
                with contextlib.suppress(OSError):
                    (CGROUPS / left).rmdir()


def _read(finished):
    assert finished.returncode == 0, finished.stderr.decode()[-4000:]
    return json.loads(finished.stdout)
