"""CPU time of a program and all it starts: by a control group where we may make one, else /proc.

A control group also counts children nobody waits for (`storescp --fork` ignores SIGCHLD, and the
kernel then drops their times instead of adding them to the parent's).
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Protocol

ROOT = Path("/sys/fs/cgroup")
TICKS = os.sysconf("SC_CLK_TCK")
_numbers = count()


class Account(Protocol):
    def joining(self, command: Sequence[str]) -> list[str]:
        """Return the command to start instead, so that the program is counted here."""

    def cpu_ms(self) -> float: ...

    def close(self) -> None: ...


def open_account(pids: Callable[[], Iterable[int]]) -> Account:
    """Return an account; `pids` names the program's processes for the one over /proc."""
    for parent in (ROOT / "cpuacct", ROOT / "cpu,cpuacct", ROOT):
        group = parent / f"radfed-bench-{os.getpid()}-{next(_numbers)}"
        with suppress(OSError):
            group.mkdir()
            if (group / "cpuacct.usage").exists() or (group / "cpu.stat").exists():
                return GroupAccount(group)
            group.rmdir()
    return ProcAccount(pids)


class GroupAccount:
    def __init__(self, group: Path) -> None:
        self._group = group

    def joining(self, command: Sequence[str]) -> list[str]:
        join = f'echo $$ > "{self._group}/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", join, "join", *command]

    def cpu_ms(self) -> float:
        with suppress(FileNotFoundError):  # cgroup v1, in nanoseconds
            return int((self._group / "cpuacct.usage").read_text("ascii")) / 1e6
        text = (self._group / "cpu.stat").read_text("ascii")  # cgroup v2, in microseconds
        return int(text.split("usage_usec", 1)[1].split()[0]) / 1e3

    def close(self) -> None:
        for _ in range(50):
            with suppress(OSError):  # its last processes are still leaving
                self._group.rmdir()
                return
            time.sleep(0.02)


class ProcAccount:
    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def joining(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def cpu_ms(self) -> float:
        return sum(map(_cpu_ms, self._pids()))

    def close(self) -> None:
        """Do nothing: there was nothing to make."""


def stat_fields(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from its third field on (proc(5)), so that [3] is the session."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None


def _cpu_ms(pid: int) -> float:
    fields = stat_fields(pid)
    if fields is None:
        return 0.0
    own = (int(fields[11]) + int(fields[12])) * 1e3 / TICKS
    with suppress(OSError):  # the process's own clock counts nanoseconds: clock_getcpuclockid(3)
        own = time.clock_gettime_ns((~pid << 3) | 2) / 1e6
    return own + (int(fields[13]) + int(fields[14])) * 1e3 / TICKS
