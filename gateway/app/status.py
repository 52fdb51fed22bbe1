"""How the gateway is: read from its files, so that it works whether the gateway runs or not."""

from collections import Counter
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Any

from gateway.app.build import build_audit, build_secret, build_store, build_vault
from gateway.app.commitment import commitments_of
from gateway.app.exits import exits
from gateway.app.process import is_running, read_state
from gateway.app.trail import chain_status
from gateway.config import GatewayConfig
from gateway.durable import free_bytes
from gateway.keys import rotation_under_way
from gateway.link.credentials import Credentials
from gateway.link.status import LinkState, read_status
from gateway.release.ledger import Ledger
from gateway.store.index import Index

# By the digest of the profile they were de-identified under: cohorts never mix them.
PROFILES = """
    SELECT coalesce(profile_digest, '') AS profile, count(*) AS instances
    FROM instance GROUP BY profile_digest ORDER BY instances DESC
"""


def status_of(config: GatewayConfig) -> dict[str, Any]:
    """Return counts and conditions: nothing in it identifies a patient."""
    running = is_running(config.run_dir / "lock")
    node = read_state(config.run_dir / "node.json") if running else {}
    return {
        "site": config.site,
        "running": running,
        "port": node.get("port"),
        "tls_port": node.get("tls_port"),
        "console": node.get("console"),
        "console_link": _console_link(config, running=running),
        "metrics": node.get("metrics"),
        "jobs_confined_by": node.get("jobs_confined_by"),
        "received": _received(config),
        "rotation": _rotation(config),
        **_held(config),
        "commitments": commitments_of(config),
        "link": _link(config, running=running),
        "chain": chain_status(config),
        "privacy_ledger": privacy_status(config),
        "exits": exits(config),
        "ledger_bytes": _ledger_bytes(config),
        "disk": _disk(config),
    }


def _console_link(config: GatewayConfig, *, running: bool) -> str | None:
    """Name the file with the one-time link to the pages; it is gone when the link is too old."""
    file = config.console_link_file
    return str(file) if running and file.exists() else None


def _received(config: GatewayConfig) -> dict[str, int]:
    """Sum the receivers' counters since they started."""
    counts: Counter[str] = Counter()
    for file in config.run_dir.glob("intake-*.json"):
        counts.update(read_state(file))
    return dict(sorted(counts.items()))


def _rotation(config: GatewayConfig) -> dict[str, Any] | None:
    """Say which key is being rotated, and how far the store has followed."""
    found = rotation_under_way(config.keys_dir)
    if found is None:
        return None
    named = {"key": str(found.key), "version": found.version}
    return named | {"done": found.done, "of": found.instances}


def _held(config: GatewayConfig) -> dict[str, Any]:
    secret = build_secret(config)
    index = Index.open(config.index_file)
    try:
        counts = index.counts()
        profiles = {row["profile"]: row["instances"] for row in index.read(PROFILES)}
    finally:
        index.close()
    return {
        "stored": counts,
        "profiles": profiles,
        "arrivals": len(build_store(config, secret).arrived(at_most=-1)),
        "vault": build_vault(config, secret).counts(),
    }


def _link(config: GatewayConfig, *, running: bool) -> dict[str, Any]:
    credentials = Credentials.load(config.keys_dir)
    if credentials is None:
        return {"state": "not enrolled", "says": "run `radfed gateway enrol -`"}
    found = read_status(config.run_dir / "link.json") if running else None
    if found is None:
        return {"state": str(LinkState.STOPPED), "coordinator": credentials.address}
    return asdict(found)


def privacy_status(config: GatewayConfig) -> str:
    """Say whether the privacy budget may be spent."""
    waits = waiting_since(config)
    if waits is None:
        return "in force"
    return (
        f"restored {waits:%Y-%m-%d %H:%M} and not reconciled: nothing is spent until the "
        "coordinator has shown its last checkpoint, or `radfed gateway reconcile`"
    )


def waiting_since(config: GatewayConfig) -> datetime | None:
    """Return when a backup was put in place that some book still waits for."""
    from gateway.app.outbound import build_privacy
    from gateway.app.spent import open_spent

    with (
        closing(build_privacy(config)) as privacy,
        closing(build_audit(config)) as audit,
        closing(open_spent(config, audit)) as spent,
    ):
        return max(filter(None, (privacy.waiting_since(), spent.waiting_since())), default=None)


def _ledger_bytes(config: GatewayConfig) -> int:
    ledger = Ledger.open(config.ledger_file)
    try:
        return ledger.total_bytes()
    finally:
        ledger.close()


def _disk(config: GatewayConfig) -> dict[str, Any]:
    free = free_bytes(config.data)
    accepting = free > config.disk.reserve_bytes
    return {
        "free_bytes": free,
        "reserve_bytes": config.disk.reserve_bytes,
        "accepting": accepting,
    }
