"""What is wrong with this coordinator, in a sentence each; and a bundle for whoever helps."""

import json
import platform
import re
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from coordinator.app.keys import load_keys
from coordinator.app.migrating import plan
from coordinator.app.process import is_running
from coordinator.app.signed import installed_manifest
from coordinator.app.status import preflight, status
from coordinator.app.tables import seen
from coordinator.app.trail import verify_trail
from coordinator.config import CoordinatorConfig
from coordinator.errors import (
    ConfigurationFault,
    CoordinatorError,
    EnvironmentFault,
    ExitCode,
    IntegrityFault,
)
from coordinator.store.checkpoint_glance import faults_so_far

DAYS_LEFT = 30
KEY = re.compile(r"[a-z][a-z_]{0,39}")
WORDS = frozenset({"invited", "active", "suspended", "revoked", "none"})
PACKAGES = ("radfed", "grpcio", "sqlalchemy", "alembic", "cryptography", "protobuf")


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    ok: bool
    says: str
    exit_code: ExitCode = ExitCode.OK


def examine(config: CoordinatorConfig) -> list[Finding]:
    """Run every check; one that fails hides no other."""
    asked: tuple[tuple[str, Callable[[CoordinatorConfig], str]], ...] = (
        ("start", _start),
        ("certificates", _certificates),
        ("manifest", _manifest),
        ("tables", _tables),
        ("audit trail", _trail),
        ("checkpoints", _checkpoints),
    )
    return [_ask(name, ask, config) for name, ask in asked]


def bundle(config: CoordinatorConfig, findings: list[Finding], file: Path) -> dict[str, object]:
    """Make a ZIP for a supporter; its first file says what the others hold."""
    if file.exists():
        raise ConfigurationFault(f"{file} exists already: name a new file")
    machine = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    parts: dict[str, tuple[str, object]] = {
        "checks.json": (
            "which checks passed; their sentences stay here",
            [{"check": each.name, "ok": each.ok} for each in findings],
        ),
        "status.json": ("the status: numbers rounded, texts left out", shape(status(config))),
        "settings.json": (
            "the settings' keys: numbers and switches, no text",
            shape(config.model_dump(mode="json")),
        ),
        "versions.json": ("versions of this machine's software", machine),
    }
    holds = {name: what for name, (what, _) in parts.items()}
    says = "".join(f"{name}: {what}\n" for name, what in holds.items())
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as made:
        made.writestr("CONTENTS.txt", f"A support bundle of a radfed coordinator.\n{says}")
        for name, (_, content) in parts.items():
            made.writestr(name, json.dumps(content, indent=1))
    file.chmod(0o600)
    return {"bundle": str(file), "holds": holds}


def shape(value: object) -> object:
    """Return a value without what it could tell: a text is its length, a number its magnitude."""
    if isinstance(value, Mapping):
        return {key: shape(inner) for key, inner in value.items() if KEY.fullmatch(str(key))}
    if isinstance(value, list | tuple):
        return [shape(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(f"{value:.1g}")
    return str(value) if str(value) in WORDS else f"({len(str(value))} characters)"


def _ask(name: str, ask: Callable[[CoordinatorConfig], str], config: CoordinatorConfig) -> Finding:
    try:
        return Finding(name, ok=True, says=ask(config))
    except CoordinatorError as fault:
        return Finding(name, ok=False, says=str(fault), exit_code=fault.exit_code)
    except Exception as fault:  # noqa: BLE001 - a doctor examines what is broken, too
        says = f"{type(fault).__name__}: this file is damaged, or of another version"
        return Finding(name, ok=False, says=says, exit_code=ExitCode.INTEGRITY)


def _start(config: CoordinatorConfig) -> str:
    preflight(config)
    running = "runs" if is_running(config.lock_file) else "could start"
    return f"{running}; {shutil.disk_usage(config.data).free >> 20} MiB free"


def _certificates(config: CoordinatorConfig) -> str:
    ends = load_keys(config, time.time()).authority.issuing.certificate.not_valid_after_utc
    days = int((ends.timestamp() - time.time()) / 86_400)
    if days < DAYS_LEFT:
        raise EnvironmentFault(
            f"the intermediate ends in {days} days: `radfed coordinator request`, sign, install"
        )
    return f"the intermediate holds for {days} days"


def _manifest(config: CoordinatorConfig) -> str:
    installed = installed_manifest(config)
    if installed is None:
        return "none is installed: no signature counts anywhere"
    if not installed[1].is_current(time.time()):
        raise EnvironmentFault("the manifest has run out: let the custodians sign another")
    return f"version {installed[1].version}"


def _tables(config: CoordinatorConfig) -> str:
    if config.store.url is not None:
        held, _counts = seen(config)
        _require_no_migrations(config)
        return "on PostgreSQL, led by nobody" if held is None else "on PostgreSQL, and led"
    if not config.database_file.exists():
        return "made at the first start"
    with closing(sqlite3.connect(f"file:{config.database_file}?mode=ro", uri=True)) as still:
        (verdict,) = still.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        raise IntegrityFault("the tables are damaged: restore them from a backup")
    _require_no_migrations(config)
    return "sound, and of this version"


def _require_no_migrations(config: CoordinatorConfig) -> None:
    shown = plan(config)
    if shown["revision"] is not None and shown["pending"]:
        raise EnvironmentFault("migrations wait: `radfed coordinator migrate --plan` shows them")


def _trail(config: CoordinatorConfig) -> str:
    found = verify_trail(config)
    return f"{found['entries']} entries, {found['checkpoints']} checkpoints, unbroken"


def _checkpoints(config: CoordinatorConfig) -> str:
    faults = [each.house for each in faults_so_far(config)]
    if faults:
        raise IntegrityFault(
            f"{len(faults)} houses' checkpoints did not fit ({', '.join(sorted(faults))}): "
            "`radfed site show` says when; a backup put in place leaves a fault, too"
        )
    return "nothing was found at fault"
