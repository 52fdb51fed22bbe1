"""Runs one untrusted job, confined by bubblewrap, and brings out what it declared."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from platform import machine
from threading import Event
from types import MappingProxyType
from typing import IO, Any, Self

from gateway.errors import EnvironmentFault
from gateway.model import Isolation
from gateway.sandbox import cgroups, gvisor, interpreter, seccomp
from gateway.sandbox.cgroups import Cage, Cgroups
from gateway.sandbox.gpus import Turns
from gateway.sandbox.pipes import Pipe, memory_file
from gateway.sandbox.rules import (
    NOTHING,
    OUTPUTS,
    PROC_KEPT,
    Confinement,
    Descriptors,
    FailureCode,
    Given,
    Inside,
    Limits,
    Runtime,
    bwrap_arguments,
)
from gateway.sandbox.supervised import TICK_SECONDS, Finished, JobFailed, Supervised
from gateway.sandbox.workspace import Workspace
from protos.job_manifest import PLAIN_RUNTIME

__all__ = ["Finished", "JobFailed", "Runner"]

# Goes into the cage before bubblewrap is even started; `exec` keeps descriptors and the PID.
PROGRAMS = "/usr/bin:/bin:/usr/local/bin"
ENTER = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@"'


class Runner:
    """Starts jobs on this machine.

    Each `run` blocks the calling thread, which must live until it returns: bubblewrap dies with
    the thread that started it (PR_SET_PDEATHSIG), so that no job outlives its gateway.
    """

    def __init__(
        self,
        limits: Limits,
        runtime: Runtime,
        confinement: Confinement,
        groups: Cgroups | None,
        offered: Mapping[str, Runtime] = MappingProxyType({}),
        turns: Turns | None = None,
    ) -> None:
        self.limits = limits
        self.confinement = confinement
        self._runtime = runtime
        self._runtimes = {**offered, PLAIN_RUNTIME: runtime}
        self._groups = groups
        self._turns = turns

    @classmethod
    def on_this_machine(
        cls,
        limits: Limits,
        runtime: Runtime | None = None,
        offered: Mapping[str, Path] = MappingProxyType({}),
        isolation: Isolation = Isolation.BUBBLEWRAP,
        turns: Turns | None = None,
    ) -> Self:
        """Find what confines, cgroups and an interpreter; EnvironmentFault where a wall is missing.

        Where gVisor is demanded, nothing less is ever returned.
        """
        bwrap = shutil.which("bwrap", path=PROGRAMS)
        if bwrap is None:
            raise EnvironmentFault("bubblewrap is missing: run `apt-get install bubblewrap`")
        runsc = shutil.which("runsc", path=PROGRAMS) if isolation is Isolation.GVISOR else None
        if runsc is None and isolation is Isolation.GVISOR:
            raise EnvironmentFault(
                "the policy demands gVisor for jobs and runsc is missing: run `apt-get install "
                'runsc`, or say `isolation = "bubblewrap"` under [jobs] of policy.toml'
            )
        folders, files = _proc_entries()
        confinement = Confinement(
            Path(bwrap),
            folders,
            files,
            disable_userns=_can_disable_userns(bwrap),
            has_seccomp=seccomp.program(machine()) is not None,
            runsc=Path(runsc) if runsc else None,
        )
        runtime = runtime or interpreter.discover()
        more = {name: interpreter.with_packages(runtime, path) for name, path in offered.items()}
        return cls(limits, runtime, confinement, cgroups.find(), more, turns)

    @property
    def runtimes(self) -> frozenset[str]:
        """Return the names of what a job may ask to run in."""
        return frozenset(self._runtimes)

    @property
    def isolation(self) -> Isolation:
        """Return what a job of this runner is confined by."""
        return self.confinement.isolation

    @property
    def gpus(self) -> int:
        """Return how many graphics processors a job may be given; gVisor lets none through."""
        if self._turns is None or self.confinement.runsc:
            return 0
        return len(self._turns.cards.cards)

    @property
    def counts_memory_by(self) -> str:
        """How limits are kept: `cgroup v1`, `cgroup v2` or `rlimits`."""
        return f"cgroup v{self._groups.version}" if self._groups else "rlimits"

    @property
    def filters_calls(self) -> bool:
        return self.confinement.has_seccomp

    def without_cgroups(self) -> "Runner":
        """Return the same runner with process limits and a watchdog instead of cgroups."""
        return Runner(
            self.limits, self._runtime, self.confinement, None, self._runtimes, self._turns
        )

    def run(
        self,
        bundle: Path,
        workspace: Workspace,
        weights: Path | None,
        config: Mapping[str, Any],
        wall_seconds: float,
        cancelled: Event,
        memory_bytes: int | None = None,
        runtime: str = PLAIN_RUNTIME,
        *,
        gpus: int = 0,
    ) -> Finished | JobFailed:
        """Run an unpacked bundle on a frozen cohort, to the end or until a limit ends it."""
        limits = self.limits.at_most(memory_bytes)
        with contextlib.ExitStack() as stack:
            given = self._turn(gpus, time.monotonic() + wall_seconds, cancelled, stack)
            if isinstance(given, FailureCode):
                return JobFailed(given, 0.0, b"the graphics processors it needs are not to be had")
            held = weights and weights.resolve()
            inside = Inside(bundle.resolve(), workspace.inside.resolve(), held, given)
            cage = self._cage(limits, stack)
            spool = stack.enter_context(tempfile.TemporaryFile(dir=workspace.root))
            running = stack.enter_context(
                self._started(limits, inside, config, cage, spool, runtime)
            )
            running.watch(wall_seconds, cancelled)
            running.kill()
            return running.verdict()

    def self_test(self) -> list[str]:
        """Try the attacks inside this very sandbox and return those that worked."""
        from gateway.sandbox.selftest import attempt

        return attempt(self)

    def _turn(
        self, gpus: int, deadline: float, cancelled: Event, stack: contextlib.ExitStack
    ) -> Given | FailureCode:
        """Wait until so many cards are free: a steward's dry run may have one for a while."""
        if gpus == 0:
            return NOTHING
        while self._turns is not None and gpus <= self.gpus and time.monotonic() < deadline:
            if (given := self._turns.take(gpus, stack)) is not None:
                return given
            if cancelled.wait(TICK_SECONDS):
                return FailureCode.WITHDRAWN
        return FailureCode.SANDBOX_FAULT

    def _cage(self, limits: Limits, stack: contextlib.ExitStack) -> Cage | None:
        if self._groups is None:
            return None
        in_gvisor = self.isolation is Isolation.GVISOR
        processors = os.cpu_count() or 1
        processes = gvisor.threads(limits, processors) if in_gvisor else limits.processes
        return stack.enter_context(
            self._groups.cage(limits.memory_bytes, processes, limits.threads)
        )

    @contextlib.contextmanager
    def _started(
        self,
        limits: Limits,
        inside: Inside,
        config: Mapping[str, Any],
        cage: Cage | None,
        spool: IO[bytes],
        runtime: str,
    ) -> Iterator["Supervised"]:
        with contextlib.ExitStack() as pipes:
            output, info, log = (Pipe(pipes) for _ in range(3))
            output.widen()
            crossing = self._crossing(limits, config, cage, (output, info), pipes, runtime, inside)
            command = self._command(self._runtimes[runtime], limits, inside, crossing)
            joins = [str(join) for join in cage.joins] if cage else []
            process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell text from outside
                ["/bin/sh", "-c", ENTER, "sh", *joins, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log.write,
                stderr=log.write,
                env={},
                pass_fds=crossing.all(),
            )
            for pipe in (output, info, log):
                pipe.close_write()
            running = Supervised(process, cage, limits, spool, (output, info, log))
            try:
                yield running
            finally:
                running.kill()

    def _crossing(
        self,
        limits: Limits,
        config: Mapping[str, Any],
        cage: Cage | None,
        pipes: tuple[Pipe, Pipe],
        stack: contextlib.ExitStack,
        runtime: str,
        inside: Inside,
    ) -> Descriptors:
        output, info = pipes
        rules = seccomp.program(machine(), gpus=bool(inside.gpus.devices))
        for_harness = rules if self.confinement.runsc and rules else b""
        wanted = self._settings(limits, config, cage, inside, for_harness)
        settings = stack.enter_context(memory_file(wanted))
        if self.confinement.runsc:
            told = gvisor.container(self._runtimes[runtime], limits, inside)
            container = stack.enter_context(memory_file(told))
            return Descriptors(output.write, settings, info.write, None, container)
        loaded = stack.enter_context(memory_file(rules)) if rules else None
        return Descriptors(output.write, settings, info.write, loaded)

    def _command(
        self, runtime: Runtime, limits: Limits, inside: Inside, crossing: Descriptors
    ) -> list[str]:
        arguments = gvisor.arguments if self.confinement.runsc else bwrap_arguments
        return arguments(self.confinement, runtime, limits, inside, crossing)

    def _settings(
        self,
        limits: Limits,
        config: Mapping[str, Any],
        cage: Cage | None,
        inside: Inside,
        rules: bytes,
    ) -> bytes:
        wanted = {
            "filter": rules.hex(),
            "limits": {
                "memory_bytes": limits.memory_bytes,
                "processes": limits.processes,
                "file_bytes": limits.output_bytes,
                # A driver of graphics processors maps far more than there is memory.
                "address_space": cage is None and not inside.gpus.devices,
            },
            "outputs": OUTPUTS,
            "config": dict(config),
        }
        return json.dumps(wanted).encode()


def _can_disable_userns(bwrap: str) -> bool:
    """Try the flag: where /proc/sys is read-only (some containers) only the filter forbids it."""
    trial = [bwrap, "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "/bin/true"]
    return subprocess.run(trial, check=False, capture_output=True).returncode == 0  # noqa: S603 - our own words


def _proc_entries() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the folders and files of this kernel's /proc that a job is not shown."""
    folders: list[str] = []
    files: list[str] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() and entry.name not in PROC_KEPT and not entry.is_symlink():
            (folders if entry.is_dir() else files).append(entry.name)
    return tuple(sorted(folders)), tuple(sorted(files))
