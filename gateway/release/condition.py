"""How the gateway is, as coarsely as it may be said: nothing that follows single patients."""

from dataclasses import dataclass

from protos.v1.link_pb2 import Condition as Said

# Below it one patient's study is an order of magnitude: in a quiet night a hospital's heartbeats
# would say when it was taken.
BACKLOG_TOLD = 10_000


@dataclass(frozen=True, slots=True)
class Condition:
    """What care needs to know, exactly; it leaves in steps only."""

    backlog: int  # stored instances that are not indexed yet
    disk_free: int
    disk_total: int
    accepting: bool
    certificate_days: float


def coarse(condition: Condition) -> Said:
    """Round: a large backlog to its number of digits, the disk to tenths, the rest to days."""
    backlog = condition.backlog
    return Said(
        backlog_digits=len(str(backlog)) if backlog >= BACKLOG_TOLD else 0,
        disk_free_tenths=10 * condition.disk_free // max(condition.disk_total, 1),
        accepting=condition.accepting,
        certificate_days=max(0, int(condition.certificate_days)),
    )
