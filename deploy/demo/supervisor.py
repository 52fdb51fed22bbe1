"""Starts the federation's processes, starts again whichever dies, and stops them all at the end."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_SECONDS = 0.1
PAUSE_SECONDS = 0.3
STARTS_AT_MOST = 6
STOP_SECONDS = 20.0


class ProcessGaveUp(Exception):
    def __init__(self, name: str, log: Path) -> None:
        super().__init__(f"{name} does not stay up: see {log}")


@dataclass(slots=True)
class _Child:
    argv: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes]


@dataclass(slots=True)
class Supervisor:
    """Keeps each process running; its pid stands in `run/NAME.pid`, its log in `logs/NAME.log`."""

    run: Path
    logs: Path
    restarts: Counter[str] = field(default_factory=Counter)
    _children: dict[str, _Child] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)
    _watch: threading.Thread | None = None

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a process that is to stay up."""
        for directory in (self.run, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with self._lock:
            self._children[name] = _Child(argv, log, self._spawn(name, argv, log))
        if self._watch is None:
            self._watch = threading.Thread(target=self._watch_over, daemon=True)
            self._watch.start()

    def check(self) -> None:
        """Raise ProcessGaveUp when a process was started too often."""
        for name, child in self._children.items():
            if self.restarts[name] >= STARTS_AT_MOST:
                raise ProcessGaveUp(name, child.log)

    def stop(self) -> dict[str, int]:
        """End all by SIGTERM, and by SIGKILL what does not heed it; return exit codes."""
        self._ending.set()
        if self._watch is not None:
            self._watch.join()
        with self._lock:
            return self._stop_all()

    def _stop_all(self) -> dict[str, int]:
        for child in self._children.values():
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        codes = {}
        for name, child in self._children.items():
            try:
                codes[name] = child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                codes[name] = child.process.wait()
            (self.run / f"{name}.pid").unlink(missing_ok=True)
        return codes

    def _watch_over(self) -> None:
        while not self._ending.wait(POLL_SECONDS):
            with self._lock:
                for name, child in self._children.items():
                    if child.process.poll() is not None and self.restarts[name] < STARTS_AT_MOST:
                        self.restarts[name] += 1
                        time.sleep(PAUSE_SECONDS)
                        child.process = self._spawn(name, child.argv, child.log)

    def _spawn(self, name: str, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the others in order.
        with log.open("ab") as sink:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )
        fresh = self.run / f".{name}.{os.getpid()}"
        fresh.write_text(f"{process.pid}\n")
        fresh.replace(self.run / f"{name}.pid")
        return process
