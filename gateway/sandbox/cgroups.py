"""Memory, process and CPU limits by cgroup, version 2 where delegated, version 1 where writable."""

import contextlib
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

OURS = "radfed"
CAGE = re.compile(r"radfed-job-(\d+)-[0-9a-f]{8}")
REMOVAL_SECONDS = 2.0
PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Cage:
    """One job's cgroups, by controller."""

    groups: tuple[Path, ...]

    @property
    def joins(self) -> list[Path]:
        """The files a process writes 0 to, to go in."""
        return [group / "cgroup.procs" for group in self.groups]

    def ran_out_of_memory(self) -> bool:
        """Say whether the kernel killed a process of this cage (memory.events, oom_control)."""
        for group in self.groups:
            for name in ("memory.events", "memory.oom_control"):
                found = re.search(r"^oom_kill (\d+)$", _read(group / name), re.MULTILINE)
                if found and int(found[1]) > 0:
                    return True
        return False

    def kill(self) -> None:
        """Kill whatever is inside, again and again until nothing is."""
        for group in self.groups:
            for process in _read(group / "cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(process), signal.SIGKILL)

    def remove(self) -> None:
        deadline = time.monotonic() + REMOVAL_SECONDS
        for group in self.groups:
            while group.exists() and time.monotonic() < deadline:
                try:
                    group.rmdir()
                except OSError:  # the kernel is still reaping
                    self.kill()
                    time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where cages can be made on this machine."""

    parents: tuple[Path, ...]
    version: int

    @contextlib.contextmanager
    def cage(self, memory_bytes: int, processes: int, cpus: int) -> Iterator[Cage]:
        name = f"radfed-job-{os.getpid()}-{secrets.token_hex(4)}"
        cage = Cage(tuple(parent / name for parent in self.parents))
        try:
            for group in cage.groups:
                group.mkdir()
                for file, value in self._settings(memory_bytes, processes, cpus).items():
                    # Exactly the limits this controller has; swap accounting may be compiled out.
                    if (group / file).exists():
                        # A parent may have fewer processors than that: then its limit holds.
                        with contextlib.suppress(*([OSError] if file.startswith("cpu.") else [])):
                            (group / file).write_text(value)
            yield cage
        finally:
            cage.kill()
            cage.remove()

    def sweep(self) -> None:
        """Empty and remove cages whose gateway died."""
        for parent in self.parents:
            for group in parent.glob("radfed-job-*"):
                found = CAGE.fullmatch(group.name)
                if found and not Path("/proc", found[1]).exists():
                    left = Cage((group,))
                    left.kill()
                    left.remove()

    def _settings(self, memory_bytes: int, processes: int, cpus: int) -> Mapping[str, str]:
        if self.version == 1:
            return {
                "cpu.cfs_period_us": str(PERIOD_US),
                "cpu.cfs_quota_us": str(cpus * PERIOD_US),
                "memory.limit_in_bytes": str(memory_bytes),
                "memory.memsw.limit_in_bytes": str(memory_bytes),
                "pids.max": str(processes),
            }
        return {
            "cpu.max": f"{cpus * PERIOD_US} {PERIOD_US}",
            "memory.max": str(memory_bytes),
            "memory.swap.max": "0",
            "pids.max": str(processes),
        }


def find() -> Cgroups | None:
    """Find cgroups we may make; None where this machine gives us none."""
    for found in (_version_2(), _version_1()):
        if found is not None and _works(found):
            found.sweep()
            return found
    return None


def _version_2() -> Cgroups | None:
    """Our own delegated subtree: this process's cgroup, or its parent where we sit in a leaf.

    systemd: `Delegate=memory pids` with `DelegateSubgroup=` puts the gateway into such a leaf,
    since a cgroup with processes of its own cannot limit children (cgroup-v2, "no internal
    processes").
    """
    mounts = [fields[4] for fields, kind, _ in _mounts() if kind == "cgroup2"]
    own = re.search(r"^0::(.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    if not mounts or not own:
        return None
    here = Path(mounts[0] + own[1])
    for parent in (here, here.parent):
        for controllers in ("+memory +pids", "+cpu"):  # the last where it is delegated, too
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(controllers)
        enabled = _read(parent / "cgroup.subtree_control").split()
        if {"memory", "pids"} <= set(enabled) and os.access(parent, os.W_OK):
            return Cgroups((parent,), 2)
    return None


def _version_1() -> Cgroups | None:
    """One directory of ours in each of the hierarchies; the CPU's where we may have one."""
    parents = []
    for controller in ("memory", "pids", "cpu"):
        mounts = [
            Path(fields[4])
            for fields, kind, options in _mounts()
            if kind == "cgroup" and controller in options.split(",")
        ]
        if mounts:
            with contextlib.suppress(OSError):
                (mounts[0] / OURS).mkdir(exist_ok=True)
        if controller == "cpu" and not (mounts and os.access(mounts[0] / OURS, os.W_OK)):
            continue
        if not mounts:
            return None
        parents.append(mounts[0] / OURS)
    return Cgroups(tuple(dict.fromkeys(parents)), 1)


def _works(cgroups: Cgroups) -> bool:
    try:
        with cgroups.cage(64 << 20, 8, 1) as cage:
            return all(os.access(join, os.W_OK) for join in cage.joins)
    except OSError:
        return False


def _mounts() -> Iterator[tuple[list[str], str, str]]:
    """Read /proc/self/mountinfo (proc(5)): the fields, the file system type, the super options."""
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        yield left.split(" "), kind, options


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
