"""Memory of a whole process tree, for machines where no cgroup counts it."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
INODES_AT_MOST = 100_000
OWN_TMPFS = ("job/out", "tmp", "dev/shm")


def passes(init: int, limit: int) -> bool:
    """Say whether a sandbox's processes and its tmpfs together hold more than the limit.

    A daemon that leaves its parent becomes a child of init, so that descent finds every process.
    Resident sizes count a shared page once for each process; only when they pass the limit is the
    dearer proportional size asked for.
    """
    tree, files = _descendants(init), _files(init)
    if files + sum(map(_resident, tree)) <= limit:
        return False
    return files + sum(map(_proportional, tree)) > limit


def has_too_many_files(init: int) -> bool:
    """Say whether a job made more files than any honest one.

    They are kernel memory that rlimits do not count, and a cgroup only where its kernel does.
    """
    return any(found.f_files - found.f_ffree > INODES_AT_MOST for found in _own_tmpfs(init))


def _files(init: int) -> int:
    """Return the bytes in the sandbox's own tmpfs; 0 while it is still being set up."""
    return sum((found.f_blocks - found.f_bfree) * found.f_frsize for found in _own_tmpfs(init))


def _own_tmpfs(init: int) -> Iterator[os.statvfs_result]:
    root = f"/proc/{init}/root"
    with contextlib.suppress(OSError):  # it has ended, or is closed to us
        if os.stat(root).st_dev != os.stat("/").st_dev:  # noqa: PTH116 - the link itself counts
            for name in OWN_TMPFS:
                with contextlib.suppress(OSError):
                    yield os.statvfs(f"{root}/{name}")


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


def _proportional(process: int) -> int:
    try:
        text = Path("/proc", str(process), "smaps_rollup").read_text()
    except OSError:  # gone, or closed to us
        return _resident(process)
    found = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) << 10 if found else _resident(process)


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
