"""Intake processes: exec'd on one listening socket, watched, and started again when they die.

All but the first rest while nothing comes (`gateway.app.quiet`).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import structlog

from gateway.app.quiet import QUIET_SECONDS

log = structlog.get_logger()

GRACE_SECONDS = 20.0  # a running C-STORE may finish
RESTART_SECONDS = (0.2, 1.0, 5.0, 15.0)
HEALTHY_SECONDS = 60.0  # a worker that lived this long starts again without delay


@dataclass(slots=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    due: float = field(default=0.0)
    rests: bool = False


class IntakeWorkers:
    """N receivers that share the listening sockets and nothing else."""

    def __init__(
        self,
        config_path: Path,
        count: int,
        sockets: Sequence[tuple[str, socket]],
        instances: Callable[[], int] = lambda: 0,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        """`instances`: how many came to the first receiver; more of them wake those that rest."""
        self._config_path = config_path
        self._sockets = sockets
        self._instances = instances
        self._quiet_seconds = quiet_seconds
        self._seen = 0
        self._workers = [_Worker(number) for number in range(count)]

    def watch(self, stop: threading.Event) -> None:
        """Keep every worker running until `stop`, then let them finish."""
        while not stop.is_set():
            self._wake()
            for worker in self._workers:
                self._look_after(worker)
            stop.wait(0.2)
        self._finish()

    def _wake(self) -> None:
        resting = [worker for worker in self._workers if worker.rests]
        if resting and self._instances() != self._seen:
            log.info("receivers_wake", worker=len(resting))
            for worker in resting:
                worker.rests, worker.due = False, 0.0

    def _look_after(self, worker: _Worker) -> None:
        now = time.monotonic()
        process = worker.process
        if process is not None and worker.number and process.poll() == 0:
            worker.process, worker.rests, worker.deaths = None, True, 0
            self._seen = self._instances()
            log.info("receiver_rests", worker=worker.number)
        elif process is not None and process.poll() is not None:
            lived = now - worker.started
            worker.deaths = 0 if lived > HEALTHY_SECONDS else worker.deaths + 1
            delay = RESTART_SECONDS[min(worker.deaths, len(RESTART_SECONDS) - 1)]
            worker.process, worker.due = None, now + delay
            log.error("intake_worker_died", worker=worker.number, status=process.returncode)
        if worker.process is None and not worker.rests and now >= worker.due:
            worker.process, worker.started = self._start(worker.number), now

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gateway", "intake-worker"]
        command += ["--config", str(self._config_path), "--number", str(number)]
        command += ["--parent", str(os.getpid()), "--quiet-seconds", str(self._quiet_seconds)]
        for option, listening in self._sockets:
            command += [option, str(listening.fileno())]
        descriptors = [listening.fileno() for _, listening in self._sockets]
        return subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL)  # noqa: S603

    def _finish(self) -> None:
        alive = [w.process for w in self._workers if w.process and w.process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("intake_worker_killed", pid=process.pid)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
