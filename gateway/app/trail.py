"""The gateway's audit trail as a whole: verified, exported, and pruned before a checkpoint."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault, IntegrityFault
from gateway.notary import faults, kept_so_far, open_book, signed_so_far
from protos import audit_file
from protos.audit_export import BrokenExport, Chained, Trail, lines, verify


def verify_trail(config: GatewayConfig) -> dict[str, Any]:
    """Verify the trail as its export would be, checkpoints included."""
    with _trail(config) as (_audit, trail), closing(open_book(config.checkpoints_file)) as book:
        try:
            found = verify(lines(trail))
        except BrokenExport as fault:
            raise IntegrityFault(f"the audit trail was altered: {fault}") from fault
        return {
            **audit_file.summary(found),
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
    """Export everything, then forget what lies before the last checkpoint of a day."""
    with _trail(config) as (audit, trail):
        if (at := audit_file.prunable(trail, before, datetime.now(UTC))) is None:
            raise ConfigurationFault(
                f"there is no signed checkpoint from before {before:%Y-%m-%d}, of a day that is "
                "over, for the trail to begin at: they are made while the gateway is linked"
            )
        made = _export(trail, into)
        gone = audit.prune(at)
        audit.record("audit_pruned", by=by, entries=gone, until=at, export_sha256=made["sha256"])
        return made | {"pruned": gone, "begins_after": at}


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
    try:
        return audit_file.write(trail, into)
    except FileExistsError as fault:
        raise ConfigurationFault(f"{into} exists already: name a new file") from fault
    except BrokenExport as fault:
        raise IntegrityFault(f"{into} does not verify: {fault}") from fault


@contextmanager
def _trail(config: GatewayConfig) -> Iterator[tuple[AuditTrail, Trail]]:
    with closing(build_audit(config)) as audit, closing(open_book(config.checkpoints_file)) as book:
        entries = (Chained(each.number, each.body, each.link) for each in audit.entries())
        own = signed_so_far(book)
        yield audit, Trail(f"gateway/{config.site}", audit.base(), entries, own, kept_so_far(book))
