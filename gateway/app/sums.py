"""The secure sums this hospital was in, for whoever pins its key or asks what it signed."""

from contextlib import closing
from typing import Any

from gateway.app.build import build_policy
from gateway.app.outbound import sum_key
from gateway.config import GatewayConfig
from gateway.desk.sum_book import Session, SumBook
from protos.sums import SumContext, roster_digest
from protos.v1.sum_pb2 import SumRoster, SumSurvivors


def sums_taken(config: GatewayConfig) -> dict[str, Any]:
    """Return this hospital's key, whom it pinned, and its sums, the newest last."""
    policy = build_policy(config)()
    with closing(SumBook.open(config.sums_file)) as book:
        return {
            "sum_key": sum_key(config).public_key().public_bytes_raw().hex(),
            "pinned": sorted(policy.jobs.sums.pinned()),
            "sums": [_row(session) for session in book.all()],
        }


def _row(session: Session) -> dict[str, Any]:
    roster = SumRoster.FromString(session.roster).hospitals
    context = SumContext(session.job_id, session.round, session.bundle, session.weights)
    return {
        "job_id": session.job_id,
        "round": session.round,
        "stage": str(session.stage),
        "rule": session.rule,
        "hospitals": [keys.site for keys in roster],
        "survivors": list(SumSurvivors.FromString(session.survivors).sites),
        "roster": roster_digest(context, roster).hex() if roster else "",
        "weights": session.weights.hex(),
    }
