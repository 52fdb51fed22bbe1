"""The coordinator's audit trail as a whole: verified, exported and pruned, while it runs or not."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from coordinator.app.tables import open_trail
from coordinator.audit import AuditTrail
from coordinator.config import CoordinatorConfig
from coordinator.errors import ConfigurationFault, IntegrityFault
from coordinator.store.checkpoint_glance import signed_so_far
from coordinator.store.checkpoints import Signed
from protos import audit_file
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
            **audit_file.summary(found),
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
    """Export everything, then forget what lies before the last checkpoint of a day."""
    with _trail(config) as (audit, trail):
        if (at := audit_file.prunable(trail, before, datetime.now(UTC))) is None:
            raise ConfigurationFault(
                f"there is no signed checkpoint from before {before:%Y-%m-%d}, of a day that is "
                "over, for the trail to begin at: they are made while hospitals are linked"
            )
        made = _export(trail, into)
        digest = str(made["sha256"])
        gone = audit.prune(at, "audit_pruned", by=by, until=at, export_sha256=digest)
        return made | {"pruned": gone, "begins_after": at}


def _export(trail: Trail, into: Path) -> dict[str, object]:
    try:
        return audit_file.write(trail, into)
    except FileExistsError as fault:
        raise ConfigurationFault(f"{into} exists already: name a new file") from fault
    except BrokenExport as fault:
        raise IntegrityFault(f"{into} does not verify: {fault}") from fault


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
