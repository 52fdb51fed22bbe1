"""The confinement's own test: a job of ours that attacks, run as any vendor's job would be."""

import contextlib
import csv
import io
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from gateway.sandbox.workspace import COHORT_FILE, Workspace

if TYPE_CHECKING:
    from gateway.sandbox.runner import Finished, JobFailed, Runner

PROBE = Path(__file__).resolve().parent / "runtime" / "probe"
APPARMOR_SWITCH = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
WALL_SECONDS = 30.0
CANARY_VARIABLE = "PATH"  # set in every process of a gateway, and in no job


def attempt(runner: "Runner") -> list[str]:
    """Return what is wrong with this sandbox, empty when nothing is."""
    if os.geteuid() == 0 and runner.counts_memory_by == "rlimits":
        return ["started as root without cgroups: process limits do not bind root"]
    if not runner.filters_calls:
        return ["no system call filter exists for this processor"]
    with (
        tempfile.TemporaryDirectory(prefix="radfed-probe-") as folder,
        _host(Path(folder)) as config,
    ):
        outcome = runner.run(
            PROBE, _nobody(Path(folder)), None, config, WALL_SECONDS, Event(), 512 << 20
        )
    return _problems(outcome)


def _problems(outcome: "Finished | JobFailed") -> list[str]:
    from gateway.sandbox.runner import JobFailed

    if isinstance(outcome, JobFailed):
        last = outcome.log.decode("utf-8", "replace").strip().splitlines()[-1:]
        return [f"the sandbox does not start ({outcome.code}): {' '.join(last)}{_cure()}"]
    rows = list(csv.DictReader(io.StringIO(bytes(outcome.outputs["predictions.csv"]).decode())))
    worked = [f"an attack from inside works: {row['case']}" for row in rows if float(row["score"])]
    return worked if rows else ["the probe reported nothing"]


def _cure() -> str:
    """Ubuntu 23.10 and later let only programs with an AppArmor profile make user namespaces."""
    try:
        restricted = APPARMOR_SWITCH.read_text("ascii").strip() == "1"
    except OSError:
        return ""
    if not restricted or os.geteuid() == 0:
        return ""
    return "; this system keeps user namespaces from bubblewrap: install deploy/apparmor/bwrap"


@contextlib.contextmanager
def _host(folder: Path) -> Iterator[dict[str, Any]]:
    """Put within reach what an unconfined job would find: a port, sockets, a file."""
    canary = folder / "canary.txt"
    canary.write_text(secrets.token_hex())
    abstract = f"radfed-probe-{secrets.token_hex(8)}"
    with (
        socket.socket() as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as unnamed,
    ):
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(folder / "socket"))
        unnamed.bind("\0" + abstract)
        for listener in (tcp, unix, unnamed):
            listener.listen()
        yield {
            "port": tcp.getsockname()[1],
            "socket": str(folder / "socket"),
            "abstract": abstract,
            "canary_file": str(canary),
            "canary_variable": CANARY_VARIABLE,
        }


def _nobody(folder: Path) -> Workspace:
    """Return a workspace without a patient."""
    root = folder / "workspace"
    (root / "inside").mkdir(parents=True)
    (root / "inside" / COHORT_FILE).write_text(json.dumps({"training": [], "validation": []}))
    return Workspace(root, "", 0, 0, {})
