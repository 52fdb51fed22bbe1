"""The coordinator's audit trail as a whole: verified, exported and pruned, while it runs or not."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from coordinator.app.tables import open_trail
from coordinator.audit import AuditTrail
from coordinator.config import CoordinatorConfig
from coordinator.errors import ConfigurationFault, IntegrityFault
from coordinator.store.checkpoint_glance import signed_so_far
from coordinator.store.checkpoints import Signed
from protos.audit_export import BrokenExport, Chained, Trail, lines, verify
from protos.v1.link_pb2 import Checkpoint


def verify_trail(config: CoordinatorConfig) -> dict[str, object]:
    """Verify the trail as its export would be, checkpoints included."""
    with _trail(config) as (_audit, trail):
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
            "chain": "unbroken",
        }


def export_trail(config: CoordinatorConfig, into: Path) -> dict[str, object]:
    """Write the whole trail to a new file."""
    with _trail(config) as (_audit, trail):
        return _export(trail, into)


def prune_trail(
    config: CoordinatorConfig, before: datetime, into: Path, by: str
) -> dict[str, object]:
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
                "over, for the trail to begin at: they are made while hospitals are linked"
            )
        made = _export(trail, into)
        at, digest = max(last), str(made["sha256"])
        gone = audit.prune(at, "audit_pruned", by=by, until=at, export_sha256=digest)
        return made | {"pruned": gone, "begins_after": at}


def _export(trail: Trail, into: Path) -> dict[str, object]:
    """Write, sync and verify an export."""
    digest = sha256()
    try:
        descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise ConfigurationFault(f"{into} exists already: name a new file") from fault
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for line in lines(trail):
            file.write(line)
            digest.update(line.encode())
        file.flush()
        os.fsync(file.fileno())
    with into.open(encoding="utf-8") as file:
        try:
            found = verify(file)
        except BrokenExport as fault:
            raise IntegrityFault(f"{into} does not verify: {fault}") from fault
    return {"file": str(into), "entries": found.entries, "sha256": digest.hexdigest()}


@contextmanager
def _trail(config: CoordinatorConfig) -> Iterator[tuple[AuditTrail, Trail]]:
    house = f"coordinator/{config.federation}"
    signed = signed_so_far(config)
    own = [(s.position, _message(s)) for s in signed if s.house == house and s.position is not None]
    kept = [_message(s) for s in signed if s.house != house]
    with closing(open_trail(config, time.time)) as audit:
        entries = (Chained(*each) for each in audit.chained())
        yield audit, Trail(house, audit.base(), entries, own, kept)


def _message(signed: Signed) -> Checkpoint:
    return Checkpoint.FromString(signed.body)
