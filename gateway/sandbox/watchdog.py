"""Memory of a whole process tree, for machines where no cgroup counts it."""

import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
INODES_AT_MOST = 100_000
OWN_TMPFS = ("job/out", "tmp", "dev/shm")


def tree_memory(init: int) -> int:
    """Return the resident bytes below a sandbox's init, and what its tmpfs hold.

    A daemon that leaves its parent becomes a child of init, so that descent finds every process.
    Shared pages count once for each process: too much rather than too little.
    """
    total = sum(_resident(process) for process in _descendants(init))
    for name in OWN_TMPFS:
        try:
            found = os.statvfs(f"/proc/{init}/root/{name}")
        except OSError:
            continue
        total += (found.f_blocks - found.f_bfree) * found.f_frsize
        if found.f_files - found.f_ffree > INODES_AT_MOST:
            return 1 << 62  # inodes are kernel memory that nobody else counts
    return total


def _descendants(init: int) -> set[int]:
    """Return init and all below it, by the parent each process names (proc(5))."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := _parent(entry.name)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = set(), [init]
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting.extend(children.get(process, ()))
    return found


def _parent(process: str) -> int | None:
    try:
        # The command's name may hold anything, so count fields from its closing parenthesis.
        fields = Path("/proc", process, "stat").read_text("utf-8", "replace").rpartition(")")[2]
        return int(fields.split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _resident(process: int) -> int:
    try:
        return int(Path("/proc", str(process), "statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0
