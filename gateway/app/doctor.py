"""What is wrong with this gateway, in a sentence each; and a bundle for whoever helps."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from gateway.app.metrics import Gauges
from gateway.app.migrating import pending
from gateway.app.outbound import build_privacy
from gateway.app.preflight import Finding, check
from gateway.app.process import is_running
from gateway.app.reporting import waiting
from gateway.app.status import status_of, waiting_since
from gateway.app.steward import verify_ledger
from gateway.app.support import write_bundle
from gateway.app.trail import chain_status, verify_trail
from gateway.config import GatewayConfig
from gateway.errors import EnvironmentFault, ExitCode, GatewayError, IntegrityFault
from gateway.link.credentials import Credentials
from gateway.link.status import LinkState, read_status

DAYS_LEFT = 7
SKEW_SECONDS = 60
WAITING = 1000
DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")


def examine(config: GatewayConfig) -> list[Finding]:
    """Run preflight's checks and those of a gateway that has a past; one hides no other."""
    asked: tuple[tuple[str, Callable[[GatewayConfig], str]], ...] = (
        ("tables", _tables),
        ("index", _index),
        ("audit trail", _trail),
        ("egress ledger", _ledger),
        ("checkpoints", _checkpoints),
        ("privacy ledger", _privacy),
        ("link", _link),
        ("certificate", _certificate),
        ("audit repository", _repository),
    )
    return check(config) + [_ask(name, ask, config) for name, ask in asked]


def bundle(
    config: GatewayConfig, findings: Sequence[Finding], file: Path, logs: Sequence[Path]
) -> dict[str, Any]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Gauges(config, lambda: datetime.now(UTC)))
    rows = [{"check": finding.name, "ok": finding.ok} for finding in findings]
    settings = config.model_dump(mode="json")
    metrics = generate_latest(registry).decode()
    return write_bundle(file, rows, status_of(config), settings, metrics, logs)


def _ask(name: str, ask: Callable[[GatewayConfig], str], config: GatewayConfig) -> Finding:
    try:
        return Finding(name, ok=True, says=ask(config))
    except GatewayError as fault:
        return Finding(name, ok=False, says=str(fault), exit_code=fault.exit_code)
    except Exception as fault:  # noqa: BLE001 - a doctor examines what is broken, too
        return Finding(
            name,
            ok=False,
            says=f"{type(fault).__name__}: {_meaning(fault)}",
            exit_code=ExitCode.ENVIRONMENT if _of_the_disk(fault) else ExitCode.INTEGRITY,
        )


def _meaning(fault: Exception) -> str:
    if _of_the_disk(fault):
        return "the disk is full, failing or closed to this user; see to it, then ask again"
    return "this file is damaged, or of another version"


def _of_the_disk(fault: Exception) -> bool:
    """Tell a disk that lets nobody read or write from a file that is not what it was."""
    return isinstance(fault, OSError) or str(getattr(fault, "sqlite_errorname", "")).startswith(
        DISK
    )


def _tables(config: GatewayConfig) -> str:
    if not config.index_file.exists():
        return "made at the first start"
    if waiting_steps := pending(config.index_file):
        raise EnvironmentFault(
            f"{len(waiting_steps)} migrations wait: `radfed gateway migrate --plan` shows them"
        )
    return "of this version"


def _index(config: GatewayConfig) -> str:
    if not config.index_file.exists():
        return "made at the first start"
    # Not by its room, which would bring it to this version: a doctor changes nothing.
    with closing(sqlite3.connect(f"file:{config.index_file}?mode=ro", uri=True)) as still:
        (verdict,) = still.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        raise IntegrityFault("the index is damaged: `radfed gateway reindex` rebuilds it")
    return "sound"


def _trail(config: GatewayConfig) -> str:
    found = verify_trail(config)
    return f"{found['entries']} entries, {found['checkpoints']} checkpoints, unbroken"


def _ledger(config: GatewayConfig) -> str:
    return f"{verify_ledger(config)['entries']} entries, unbroken"


def _checkpoints(config: GatewayConfig) -> str:
    found = chain_status(config)
    if found["faults"]:
        raise IntegrityFault(
            f"{found['faults']} faults, the last: {found['last_fault']}; a backup put in place "
            "leaves one; of any other ask whoever can write to that house's disk"
        )
    return f"the coordinator's last is of {found['exchanged'] or 'never'}"


def _privacy(config: GatewayConfig) -> str:
    if waiting_since(config) is not None:
        raise EnvironmentFault(
            "restored and not reconciled, so nothing is spent: connect to the coordinator, or "
            "`radfed gateway reconcile`"
        )
    with closing(build_privacy(config)) as privacy:
        return f"{privacy.spent_nano(privacy.year) / 1e9:.3f} rho spent this year"


def _link(config: GatewayConfig) -> str:
    if not is_running(config.run_dir / "lock"):
        return "the gateway does not run"
    found = read_status(config.run_dir / "link.json")
    if found is None or found.state is not LinkState.CONNECTED:
        raise EnvironmentFault(found.says if found and found.says else "no link stands")
    if abs(found.clock_skew_seconds) > SKEW_SECONDS:
        raise EnvironmentFault(
            f"this clock is {found.clock_skew_seconds:.0f} s off the coordinator's: check NTP"
        )
    return "connected"


def _certificate(config: GatewayConfig) -> str:
    credentials = Credentials.load(config.keys_dir)
    if credentials is None:
        return "not enrolled yet"
    days = (credentials.not_after - datetime.now(UTC)).days
    if days < DAYS_LEFT:
        raise EnvironmentFault(
            f"the certificate ends in {days} days and was not renewed: is the link up?"
        )
    return f"{days} days"


def _repository(config: GatewayConfig) -> str:
    if config.audit.syslog is None:
        return "not configured"
    if (entries := waiting(config)) > WAITING:
        raise EnvironmentFault(f"{entries} entries wait: is [audit.syslog]'s host reachable?")
    return f"{entries} entries wait"
