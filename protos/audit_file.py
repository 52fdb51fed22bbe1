"""An exported audit trail as a file, and the entry up to which a trail may be pruned."""

import os
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from protos.audit_export import Trail, Verified, lines, verify


def write(trail: Trail, into: Path) -> dict[str, object]:
    """Write, sync and verify an export.

    FileExistsError where there is a file already; BrokenExport where what was written, read again,
    does not verify.
    """
    digest = sha256()
    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for line in lines(trail):
            file.write(line)
            digest.update(line.encode())
        file.flush()
        os.fsync(file.fileno())
    with into.open(encoding="utf-8") as file:
        found = verify(file)
    return {"file": str(into), "entries": found.entries, "sha256": digest.hexdigest()}


def prunable(trail: Trail, before: datetime, now: datetime) -> int | None:
    """Return the entry of the last checkpoint of a day before `before`; None where there is none.

    Of a day that is over: of one that goes on, a later checkpoint takes this one's place.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    until = min(before, today).timestamp()
    last = max((at for at, each in trail.own if each.at.ToSeconds() < until), default=0)
    return last if last > trail.base[0] else None


def summary(found: Verified) -> dict[str, object]:
    """Return what a command says of a trail that verifies."""
    return {
        "house": found.house,
        "entries": found.entries,
        "begins_after": found.base,
        "head": found.head.hex(),
        "checkpoints": found.own,
    }
