"""The gateway's audit trail as a whole: verified, exported, and pruned before a checkpoint."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault, IntegrityFault
from gateway.notary import faults, kept_so_far, open_book, signed_so_far
from protos.audit_export import BrokenExport, Chained, Trail, lines, verify


def verify_trail(config: GatewayConfig) -> dict[str, Any]:
    """Verify the trail as its export would be, checkpoints included."""
    with _trail(config) as (_audit, trail), closing(open_book(config.checkpoints_file)) as book:
        try:
            found = verify(lines(trail))
        except BrokenExport as fault:
            raise IntegrityFault(f"the audit trail was altered: {fault}") from fault
        return {
            "house": found.house,
            "entries": found.entries,
            "begins_after": found.base,
            "head": found.head.hex(),
            "checkpoints": found.own,
            "kept": len(found.kept),
            "faults": len(faults(book)),
            "chain": "unbroken",
        }


def export_trail(config: GatewayConfig, into: Path, by: str) -> dict[str, Any]:
    """Write the whole trail to a new file; that somebody read it is on the trail."""
    with _trail(config) as (audit, trail):
        audit.record("audit_exported", by=by)
        return _export(trail, into)


def prune_trail(config: GatewayConfig, before: datetime, into: Path, by: str) -> dict[str, Any]:
    """Export everything, then forget what lies before the last checkpoint of a day.

    Of a day that is over: of one that goes on, a later checkpoint takes this one's place.
    """
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    until = min(before, today).timestamp()
    with _trail(config) as (audit, trail):
        last = [at for at, each in trail.own if each.at.ToSeconds() < until]
        if not last or max(last) <= trail.base[0]:
            raise ConfigurationFault(
                f"there is no signed checkpoint from before {before:%Y-%m-%d}, of a day that is "
                "over, for the trail to begin at: they are made while the gateway is linked"
            )
        made = _export(trail, into)
        gone = audit.prune(max(last))
        audit.record(
            "audit_pruned", by=by, entries=gone, until=max(last), export_sha256=made["sha256"]
        )
        return made | {"pruned": gone, "begins_after": max(last)}


def chain_status(config: GatewayConfig) -> dict[str, Any]:
    """Say what was exchanged with the coordinator, and what was wrong with it."""
    if not config.checkpoints_file.exists():
        return {"exchanged": None, "faults": 0}
    with closing(open_book(config.checkpoints_file)) as book:
        kept, found = kept_so_far(book), faults(book)
    last = found[-1] if found else None
    return {
        "exchanged": kept[-1].at.ToDatetime().isoformat() + "Z" if kept else None,
        "faults": len(found),
        "last_fault": f"{last.whose}: {last.finding}, {last.at}" if last else None,
    }


def _export(trail: Trail, into: Path) -> dict[str, Any]:
    """Write, sync and verify an export."""
    digest, count = sha256(), 0
    try:
        descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise ConfigurationFault(f"{into} exists already: name a new file") from fault
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for line in lines(trail):
            file.write(line)
            digest.update(line.encode())
            count += 1
        file.flush()
        os.fsync(file.fileno())
    with into.open(encoding="utf-8") as file:
        try:
            found = verify(file)
        except BrokenExport as fault:
            raise IntegrityFault(f"{into} does not verify: {fault}") from fault
    return {"file": str(into), "entries": found.entries, "sha256": digest.hexdigest()}


@contextmanager
def _trail(config: GatewayConfig) -> Iterator[tuple[AuditTrail, Trail]]:
    with closing(build_audit(config)) as audit, closing(open_book(config.checkpoints_file)) as book:
        entries = (Chained(each.number, each.body, each.link) for each in audit.entries())
        own = signed_so_far(book)
        yield audit, Trail(f"gateway/{config.site}", audit.base(), entries, own, kept_so_far(book))
