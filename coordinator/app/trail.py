"""The coordinator's audit trail as a whole: verified and exported, while it runs or not."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

from coordinator.app.tables import open_trail
from coordinator.config import CoordinatorConfig
from coordinator.errors import ConfigurationFault, IntegrityFault
from coordinator.federation.chain import linked
from coordinator.store.checkpoint_glance import signed_so_far
from coordinator.store.checkpoints import Signed
from protos.audit_export import BrokenExport, Chained, Trail, lines, verify
from protos.digest import GENESIS
from protos.v1.link_pb2 import Checkpoint


def verify_trail(config: CoordinatorConfig) -> dict[str, object]:
    """Verify the trail as its export would be, checkpoints included."""
    with _trail(config) as trail:
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
    digest = sha256()
    with _trail(config) as trail:
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
def _trail(config: CoordinatorConfig) -> Iterator[Trail]:
    house = f"coordinator/{config.federation}"
    signed = signed_so_far(config)
    own = [(s.position, _message(s)) for s in signed if s.house == house and s.position is not None]
    kept = [_message(s) for s in signed if s.house != house]
    with closing(open_trail(config, time.time)) as audit:
        entries = (Chained(each.number, each.body, each.link) for each in linked(audit))
        yield Trail(house, (0, GENESIS), entries, own, kept)


def _message(signed: Signed) -> Checkpoint:
    return Checkpoint.FromString(signed.body)
