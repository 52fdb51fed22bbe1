"""One sandbox from its start to the last of its processes: its pipes, its limits, its end."""

import contextlib
import json
import mmap
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import IO

from gateway.sandbox import frames, watchdog
from gateway.sandbox.cgroups import Cage
from gateway.sandbox.pipes import CHUNK, Pipe
from gateway.sandbox.rules import OUTPUTS, PROTOCOL_BYTES, FailureCode, Limits
from protos.tensors import Buffer

LOG_BYTES = 64 << 10
TICK_SECONDS = 0.05


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


class Supervised:
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
