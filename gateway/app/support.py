"""What a supporter may see: shapes, words of closed sets and rounded numbers, never a value.

Nothing is copied and then cleaned: each file is built from what is allowed, the rest is counted.
"""

import builtins
import json
import platform
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway import errors
from gateway.errors import ConfigurationFault
from gateway.link.status import LinkState

PACKAGE = Path(errors.__file__).parent
EVENT = re.compile(r"(?:record|log\.\w+|hear)\(\s*\"([a-z_]+)\"")
KEY = re.compile(r"[a-z][a-z_]{0,39}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|\+00:00)")
PLACE = re.compile(r"([a-z_]+\.py):\d{1,5}")
ROOMS = frozenset({"line", "desk", "link", "commitment", "reporter"})
LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
WORDS = frozenset({*LinkState, "off", "none", "in force", "required", "optional", "not enrolled"})
PACKAGES = ("radfed", "pydicom", "pynetdicom", "grpcio", "cryptography", "numpy", "protobuf")


def write_bundle(
    file: Path,
    findings: Sequence[Mapping[str, object]],
    status: Mapping[str, Any],
    settings: Mapping[str, Any],
    metrics: str,
    logs: Sequence[Path],
) -> dict[str, Any]:
    """Make a ZIP for a supporter; its first file says what the others hold."""
    if file.exists():
        raise ConfigurationFault(f"{file} exists already: name a new file")
    parts = {
        "checks.json": (
            "which checks passed; their sentences stay here",
            [{"check": each["check"], "ok": each["ok"]} for each in findings],
        ),
        "status.json": ("the status: numbers rounded, texts left out", shape(status)),
        "settings.json": ("the settings' keys: numbers and switches, no text", shape(settings)),
        "metrics.txt": ("the metrics, whose labels name nobody", metrics),
        "versions.json": ("versions of this machine's software", versions()),
        "log.json": ("the logs' events by hour; no line of them", events_of(logs)),
    }
    says = "".join(f"{name}: {what}\n" for name, (what, _) in parts.items())
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("CONTENTS.txt", f"A support bundle of a radfed gateway.\n{says}")
        for name, (_, content) in parts.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=1)
            bundle.writestr(name, text)
    file.chmod(0o600)
    return {"bundle": str(file), "holds": {name: what for name, (what, _) in parts.items()}}


def shape(value: object) -> object:
    """Return a value without what it could tell: a text is its length, a number its magnitude."""
    if isinstance(value, Mapping):
        return {str(key): shape(inner) for key, inner in value.items() if _is_key(key)}
    if isinstance(value, list | tuple | set | frozenset):
        return [shape(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(f"{value:.1g}")
    return str(value) if str(value) in WORDS else f"({len(str(value))} characters)"


def versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    return found | {"python": platform.python_version(), "kernel": platform.release()}


def events_of(logs: Iterable[Path]) -> dict[str, Any]:
    """Count a log's events by hour and place; a line that is not of ours is only counted."""
    known, files = _known_events(), {path.name for path in PACKAGE.rglob("*.py")}
    counts: Counter[str] = Counter()
    strange = 0
    for log in logs:
        with log.open("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fact = _fact(line, known, files)
                if fact is None:
                    strange += 1
                else:
                    counts[fact] += 1
    return {"events": dict(sorted(counts.items())), "other_lines": strange}


def _fact(line: str, known: frozenset[str], files: set[str]) -> str | None:
    """Return what of a line is a word of ours: hour, level, event, room, fault, place."""
    try:
        said = json.loads(line)
        event, moment = said["event"], str(said["timestamp"])
    except (ValueError, KeyError, TypeError):
        return None
    if event not in known or not MOMENT.fullmatch(moment):
        return None
    words = [moment[:13], said.get("level") if said.get("level") in LEVELS else "", event]
    words.append(said["room"] if said.get("room") in ROOMS else "")
    words.append(said["fault"] if _is_fault(said.get("fault")) else "")
    place = PLACE.fullmatch(str(said.get("at", "")))
    words.append(place[0] if place and place[1] in files else "")
    return " ".join(word for word in words if word)


def _is_fault(name: object) -> bool:
    if not isinstance(name, str):
        return False
    found = getattr(builtins, name, None) or getattr(errors, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and KEY.fullmatch(key) is not None


def _known_events() -> frozenset[str]:
    """Read off the code which events there are: a log can then say nothing else."""
    return frozenset().union(
        *(EVENT.findall(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py"))
    )
