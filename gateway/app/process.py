"""What the gateway's processes have in common: logs, limits, one instance at a time, signals."""

import ctypes
import fcntl
import json
import logging
import os
import pwd
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import structlog

from gateway.app.plain_logs import only_facts
from gateway.errors import ConfigurationFault, EnvironmentFault

PR_SET_PDEATHSIG = 1
FILES_ENOUGH = 8192  # 512 callers that wait, 256 associations, each with its files
LOOKS_SECONDS = (0.01, 0.05, 0.2)


def configure_logs() -> None:
    """Log events as JSON lines on stderr; rooms log facts, never sentences or exception texts."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_facts,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_on_stderr,
    )


def _on_stderr(*_names: object) -> structlog.PrintLogger:
    """Write to what stderr is now: a command may run inside a program that puts another there."""
    return structlog.PrintLogger(sys.stderr)


def harden(run_as: str | None) -> None:
    """Leave no core dump, make private files, and stop being root where a user is named."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    open_many_files()
    os.umask(0o077)
    if run_as is None or os.geteuid() != 0:
        return
    try:
        account = pwd.getpwnam(run_as)
    except KeyError as fault:
        raise ConfigurationFault(f"`run_as`: this machine has no user {run_as}") from fault
    os.initgroups(run_as, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def open_many_files() -> None:
    """Use the hard limit: a crowd of strangers at the soft one would leave senders no files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = FILES_ENOUGH if hard == resource.RLIM_INFINITY else min(hard, FILES_ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


@contextmanager
def only_one(lock_file: Path) -> Iterator[None]:
    """Hold the gateway's lock; refuse a second gateway over the same data."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+") as lock:
        try:
            _take(lock)
        except BlockingIOError as fault:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise EnvironmentFault(
                f"a gateway runs over {lock_file.parent.parent} (pid {holder}): stop it first"
            ) from fault
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def one_of_several(lock_file: Path) -> Iterator[None]:
    """Hold a lock together with others: nobody who needs it alone has it meanwhile."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise EnvironmentFault("a key is being turned: try again in a moment") from fault
        yield


def _take(lock: IO[str]) -> None:
    """Lock it, waiting out a `status` that looks at it for a moment; BlockingIOError if held."""
    for pause in LOOKS_SECONDS:
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(pause)
    return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_running(lock_file: Path) -> bool:
    """Say whether some process holds the gateway's lock."""
    try:
        with lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def stop_on_signals(stop: threading.Event) -> None:
    """Let SIGTERM and SIGINT end the run gracefully."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace a small JSON file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_text(json.dumps(state), "utf-8")
    fresh.replace(path)


def read_state(path: Path) -> dict[str, Any]:
    """Read such a file; empty where there is none."""
    try:
        state = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process with the one that started it, whose number it was given.

    Asking for the number here would come too late where the parent died while this one loaded.

    An orphaned receiver would hold the port against the gateway's next start. SIGKILL is safe: what
    was acknowledged is durable, what was not is the sender's to send again.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise EnvironmentFault("this kernel cannot end a receiver with its gateway")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
