"""Runs one untrusted job, confined by bubblewrap, and brings out what it declared."""

import contextlib
import json
import mmap
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from platform import machine
from threading import Event
from types import MappingProxyType
from typing import IO, Any, Self

from gateway.errors import EnvironmentFault
from gateway.sandbox import cgroups, frames, gvisor, interpreter, seccomp, watchdog
from gateway.sandbox.cgroups import Cage, Cgroups
from gateway.sandbox.pipes import CHUNK, Pipe, memory_file
from gateway.sandbox.rules import (
    OUTPUTS,
    PROC_KEPT,
    PROTOCOL_BYTES,
    Confinement,
    Descriptors,
    FailureCode,
    Inside,
    Isolation,
    Limits,
    Runtime,
    bwrap_arguments,
)
from gateway.sandbox.workspace import Workspace
from protos.job_manifest import PLAIN_RUNTIME
from protos.tensors import Buffer

LOG_BYTES = 64 << 10
TICK_SECONDS = 0.05
# Goes into the cage before bubblewrap is even started; `exec` keeps descriptors and the PID.
PROGRAMS = "/usr/bin:/bin:/usr/local/bin"
ENTER = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Finished:
    """The declared outputs as they came, unchecked: the output gate reads them next."""

    outputs: Mapping[str, Buffer]
    seconds: float
    log: bytes = field(repr=False)  # the tail of stdout and stderr; never leaves the hospital


@dataclass(frozen=True, slots=True)
class JobFailed:
    code: FailureCode
    seconds: float
    log: bytes = field(repr=False)
    subject: int | None = None  # which of the manifest's imports is missing


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
    ) -> None:
        self.limits = limits
        self.confinement = confinement
        self._runtime = runtime
        self._runtimes = {**offered, PLAIN_RUNTIME: runtime}
        self._groups = groups
        self._filter = seccomp.program(machine()) if confinement.has_seccomp else None

    @classmethod
    def on_this_machine(
        cls,
        limits: Limits,
        runtime: Runtime | None = None,
        offered: Mapping[str, Path] = MappingProxyType({}),
        isolation: Isolation = Isolation.BUBBLEWRAP,
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
        return cls(limits, runtime, confinement, cgroups.find(), more)

    @property
    def runtimes(self) -> frozenset[str]:
        """Return the names of what a job may ask to run in."""
        return frozenset(self._runtimes)

    @property
    def isolation(self) -> Isolation:
        """Return what a job of this runner is confined by."""
        return self.confinement.isolation

    @property
    def counts_memory_by(self) -> str:
        """How limits are kept: `cgroup v1`, `cgroup v2` or `rlimits`."""
        return f"cgroup v{self._groups.version}" if self._groups else "rlimits"

    @property
    def filters_calls(self) -> bool:
        return self._filter is not None

    def without_cgroups(self) -> "Runner":
        """Return the same runner with process limits and a watchdog instead of cgroups."""
        return Runner(self.limits, self._runtime, self.confinement, None, self._runtimes)

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
    ) -> Finished | JobFailed:
        """Run an unpacked bundle on a frozen cohort, to the end or until a limit ends it."""
        limits = self.limits.at_most(memory_bytes)
        inside = Inside(bundle.resolve(), workspace.inside.resolve(), weights and weights.resolve())
        with contextlib.ExitStack() as stack:
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

    def _cage(self, limits: Limits, stack: contextlib.ExitStack) -> Cage | None:
        if self._groups is None:
            return None
        in_gvisor = self.isolation is Isolation.GVISOR
        processes = gvisor.threads(limits) if in_gvisor else limits.processes
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
    ) -> Iterator["_Running"]:
        with contextlib.ExitStack() as pipes:
            output, info, log = (Pipe(pipes) for _ in range(3))
            output.widen()
            crossing = self._crossing(limits, config, cage, (output, info), pipes, runtime)
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
            running = _Running(process, cage, limits, spool, (output, info, log))
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
    ) -> Descriptors:
        output, info = pipes
        settings = stack.enter_context(memory_file(self._settings(limits, config, cage)))
        if self.confinement.runsc:
            told = gvisor.container(self._runtimes[runtime], limits)
            container = stack.enter_context(memory_file(told))
            return Descriptors(output.write, settings, info.write, None, container)
        rules = stack.enter_context(memory_file(self._filter)) if self._filter else None
        return Descriptors(output.write, settings, info.write, rules)

    def _command(
        self, runtime: Runtime, limits: Limits, inside: Inside, crossing: Descriptors
    ) -> list[str]:
        arguments = gvisor.arguments if self.confinement.runsc else bwrap_arguments
        return arguments(self.confinement, runtime, limits, inside, crossing)

    def _settings(self, limits: Limits, config: Mapping[str, Any], cage: Cage | None) -> bytes:
        inner = self._filter if self.confinement.runsc else None
        wanted = {
            "filter": inner.hex() if inner else "",
            "limits": {
                "memory_bytes": limits.memory_bytes,
                "processes": limits.processes,
                "file_bytes": limits.output_bytes,
                "address_space": cage is None,
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


class _Running:
    """One sandbox from its start to the last of its processes."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        cage: Cage | None,
        limits: Limits,
        spool: IO[bytes],
        pipes: tuple[Pipe, Pipe, Pipe],
    ) -> None:
        output, info, log = pipes
        self._process, self._cage, self._limits = process, cage, limits
        self._began = time.monotonic()
        self._seconds = 0.0
        self._init: tuple[int, int] | None = None  # PID and pidfd of the sandbox's init
        self._spool = spool  # a file without a name: outputs may be larger than memory
        self._log = bytearray()
        self._info = bytearray()
        self._failure: FailureCode | None = None
        self._readers: dict[int, Callable[[bytes], None]] = {
            output.read: self._take_output,
            info.read: self._take_info,
            log.read: self._take_log,
        }

    def watch(self, wall_seconds: float, cancelled: Event) -> None:
        """Read until every process has closed its pipes, or a limit is passed."""
        deadline, checked = self._began + wall_seconds, 0.0
        with selectors.DefaultSelector() as selector:
            for descriptor in self._readers:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map() and self._failure is None:
                for key, _ in selector.select(TICK_SECONDS):
                    if chunk := os.read(key.fd, CHUNK):
                        self._readers[key.fd](chunk)
                    else:
                        selector.unregister(key.fd)
                if (now := time.monotonic()) >= checked + TICK_SECONDS:
                    checked = now
                    self._check(deadline, cancelled)

    def kill(self) -> None:
        """End the whole tree; when this returns, every process of it is dead.

        The init first: when it dies the kernel kills its namespace, and bubblewrap reaps it.
        """
        if self._init is not None:
            _, pidfd = self._init
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            os.close(pidfd)
            self._init = None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._cage is not None:
            if self._cage.ran_out_of_memory() and self._failure is None:
                self._failure = FailureCode.OUT_OF_MEMORY
            self._cage.kill()
        self._seconds = time.monotonic() - self._began

    def verdict(self) -> Finished | JobFailed:
        log = bytes(self._log)
        frame = frames.parse(self._frame(), OUTPUTS)
        if frame is not None and frame.failure is None and self._failure is None:
            return Finished(frame.outputs, self._seconds, log)
        failure = self._failure or (frame and frame.failure) or FailureCode.SANDBOX_FAULT
        subject = frame.subject if frame and failure is FailureCode.IMPORT_MISSING else None
        return JobFailed(failure, self._seconds, log, subject)

    def _frame(self) -> Buffer:
        """Return what the harness sent: mapped, so that only what is read comes into memory."""
        self._spool.flush()
        if self._spool.tell() == 0:
            return b""
        return memoryview(mmap.mmap(self._spool.fileno(), 0, prot=mmap.PROT_READ))

    def _check(self, deadline: float, cancelled: Event) -> None:
        if self._failure is not None:
            return
        if cancelled.is_set():
            self._failure = FailureCode.WITHDRAWN
        elif time.monotonic() > deadline:
            self._failure = FailureCode.WALL_LIMIT
        elif self._ran_out_of_memory():
            self._failure = FailureCode.OUT_OF_MEMORY

    def _ran_out_of_memory(self) -> bool:
        """Say whether the kernel killed one of the job's processes, or would have to.

        One is enough to end the job: what waits for a lost child waits until the wall limit.
        """
        if self._init is not None and watchdog.has_too_many_files(self._init[0]):
            return True
        if self._cage is not None:
            return self._cage.ran_out_of_memory()
        limit = self._limits.memory_bytes
        return self._init is not None and watchdog.passes(self._init[0], limit)

    def _take_output(self, chunk: bytes) -> None:
        self._spool.write(chunk)
        if self._spool.tell() > self._limits.output_bytes + PROTOCOL_BYTES:
            self._failure = FailureCode.OUTPUT_LIMIT

    def _take_info(self, chunk: bytes) -> None:
        """Read `{"child-pid": N}` (bwrap(1), --info-fd) and hold on to that very process."""
        self._info += chunk
        with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
            child = int(json.loads(self._info)["child-pid"])
            if self._init is None:
                self._init = (child, os.pidfd_open(child))

    def _take_log(self, chunk: bytes) -> None:
        self._log += chunk
        del self._log[:-LOG_BYTES]
