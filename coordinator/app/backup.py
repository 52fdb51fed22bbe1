"""A backup of the coordinator: what it holds, by content, while it runs.

A directory takes many backups: a list of files for each, and the contents once, named by their
SHA-256. Private keys are left out unless they are asked for: whoever has them is the federation.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from coordinator.app.moving import TABLES, TRAIL, copy_in, copy_out
from coordinator.config import CoordinatorConfig, load
from coordinator.errors import ConfigurationFault, EnvironmentFault, IntegrityFault
from coordinator.postgres.server import Server

FORMAT = 1
CHUNK = 1 << 20
SETTINGS = "coordinator.toml"
PRIVATE = ".key"
SHARED = (TABLES, TRAIL)
ACCOUNTS = "console.db"


@dataclass(frozen=True, slots=True)
class Saved:
    """One file of a backup: `data/...`, `keys/...` or the settings."""

    path: str
    sha256: str
    size: int
    mode: int
    form: str  # file | sqlite


def back_up(
    config: CoordinatorConfig, settings: Path, into: Path, *, with_keys: bool
) -> dict[str, object]:
    """Take a backup into a directory, beside earlier ones; the coordinator may run."""
    inside = (into.resolve(), *into.resolve().parents)
    if any(home.resolve() in inside for home in (config.data, config.keys, config.objects_dir)):
        raise ConfigurationFault(f"{into} is inside of what is backed up: choose another disk")
    (into / "objects").mkdir(parents=True, exist_ok=True, mode=0o700)
    saved = [_save_database(config.data / path, into) for path in _databases(config.data)]
    if (server := Server.of(config)) is not None:
        saved += _save_shared(server, into)
    top, home = _home_of_objects(config)
    saved += [_save(top, home, path, into) for path in _objects(config, home)]
    left_out = []
    for path in _files(config.keys):
        if path.endswith(PRIVATE) and not with_keys:
            left_out.append(path)
        else:
            saved.append(_save("keys", config.keys, path, into))
    saved.append(_saved(SETTINGS, settings, *_put(settings, into), "file"))
    for each in saved:
        _verify(each, into)
    made = datetime.now(UTC)
    listed = {
        "radfed_backup": FORMAT,
        "house": f"coordinator/{config.federation}",
        "version": version("radfed"),
        "at": made.isoformat(),
        "left_out": left_out,
        "files": [asdict(each) for each in saved],
    }
    content = json.dumps(listed, indent=1).encode()
    name = into / f"backup-{made:%Y%m%dT%H%M%S%f}.json"
    _write(name, content)
    return {
        "backup": str(name),
        "files": len(saved),
        "bytes": sum(each.size for each in saved),
        "sha256": sha256(content).hexdigest(),
        "left_out": left_out or None,
    }


def verify_backup(backup: Path) -> dict[str, object]:
    """Read every content again, and every database through; put nothing in place."""
    listed, files, place = _read(backup)
    for each in files:
        _verify(each, place)
        if each.form == "sqlite":
            _verify_database(_content(place, each.sha256), each.path)
    return {
        "house": listed["house"],
        "at": listed["at"],
        "version": listed["version"],
        "files": len(files),
        "bytes": sum(each.size for each in files),
        "left_out": listed["left_out"] or None,
        "verdict": "every content is what it was",
    }


def restore(backup: Path, settings: Path) -> dict[str, object]:
    """Put a backup in place of nothing; run again, it goes on where it was stopped."""
    listed, files, place = _read(backup)
    by_path = {each.path: each for each in files}
    if not settings.exists():
        _verify(by_path[SETTINGS], place)
        settings.absolute().parent.mkdir(parents=True, exist_ok=True)
        _write(settings.absolute(), _content(place, by_path[SETTINGS].sha256).read_bytes())
    config = load(settings)
    server = Server.of(config)
    if config.database_file.exists():
        raise ConfigurationFault(f"{config.data} is not empty: a backup is put in place of nothing")
    shared = {} if server is None else {f"data/{name}": by_path[f"data/{name}"] for name in SHARED}
    # The tables come last: with them it counts as restored.
    for each in sorted(files, key=lambda each: each.form == "sqlite"):
        there = _place_of(each, config)
        if each.path not in shared and there is not None and not there.exists():
            _verify(each, place)
            _take(_content(place, each.sha256), there, each)
    if server is not None:
        _fill(server, shared, place, config.data)
    return {
        "settings": str(settings),
        "data": str(config.data),
        "files": len(files),
        "made_at": listed["at"],
        "put_back_yourself": listed["left_out"] or None,
        "next": "radfed coordinator preflight, then run; hospitals show it what it has lost",
    }


def _place_of(saved: Saved, config: CoordinatorConfig) -> Path | None:
    """Return where a file of a backup goes under these settings; objects may lie elsewhere now."""
    top, _, below = saved.path.partition("/")
    if saved.path.startswith("data/objects/"):
        top, below = "objects", below.removeprefix("objects/")
    homes = {"data": config.data, "keys": config.keys, "objects": config.objects_dir}
    return homes[top] / below if top in homes else None


def _save_shared(server: Server, into: Path) -> list[Saved]:
    with tempfile.TemporaryDirectory(dir=into) as own:
        return [_save_database(path, into) for path in copy_out(server, Path(own))]


def _fill(server: Server, shared: Mapping[str, Saved], place: Path, data: Path) -> None:
    """Put the tables and the trail of a backup on PostgreSQL, from copies that were verified."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=data) as own:
        for path, saved in shared.items():
            _verify(saved, place)
            _take(_content(place, saved.sha256), Path(own) / Path(path).name, saved)
        copy_in(server, Path(own))


def _databases(data: Path) -> list[str]:
    # Not who may use the pages: their accounts hold codes, and a start without them makes a link.
    return sorted(path.name for path in data.glob("*.db") if path.name != ACCOUNTS)


def _home_of_objects(config: CoordinatorConfig) -> tuple[str, Path]:
    """Return under which name objects are listed, and what their paths are relative to."""
    if config.objects_dir.is_relative_to(config.data):
        return "data", config.data
    return "objects", config.objects_dir


def _objects(config: CoordinatorConfig, home: Path) -> Iterator[str]:
    for path in _files(config.objects_dir):
        if not path.startswith("partial/"):  # what still arrives is sent again
            yield str((config.objects_dir / path).relative_to(home))


def _files(top: Path) -> Iterator[str]:
    for path in sorted(top.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield str(path.relative_to(top))


def _save_database(path: Path, into: Path) -> Saved:
    """Copy a database as one moment of it (SQLite's backup), whoever writes meanwhile."""
    with tempfile.TemporaryDirectory(dir=into) as own:
        copy = Path(own) / "copy.db"
        try:
            with (
                closing(sqlite3.connect(path)) as live,
                closing(sqlite3.connect(copy)) as still,
            ):
                live.backup(still)
                still.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as fault:
            raise EnvironmentFault(f"{path} cannot be copied: {fault}") from fault
        _verify_database(copy, path.name)
        return _saved(f"data/{path.name}", path, *_put(copy, into), "sqlite")


def _save(top: str, home: Path, path: str, into: Path) -> Saved:
    return _saved(f"{top}/{path}", home / path, *_put(home / path, into), "file")


def _saved(path: str, file: Path, digest: str, size: int, form: str) -> Saved:
    return Saved(path, digest, size, file.stat().st_mode & 0o777, form)


def _put(source: Path, into: Path) -> tuple[str, int]:
    """Copy a content in, durably; return its digest and size."""
    digest, size = _digest(source)
    place = _content(into, digest)
    if place.exists():
        return digest, size
    place.parent.mkdir(exist_ok=True, mode=0o700)
    passing = place.with_name(f".{digest}")
    shutil.copyfile(source, passing)
    passing.chmod(0o600)
    with passing.open("rb") as file:
        os.fsync(file.fileno())
    passing.replace(place)
    return digest, size


def _take(content: Path, place: Path, saved: Saved) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    passing = place.with_name(f".{place.name}.restoring")
    shutil.copyfile(content, passing)
    if _digest(passing)[0] != saved.sha256:
        raise IntegrityFault(f"{place} was not written as it was: check this disk")
    passing.chmod(saved.mode)
    with passing.open("rb") as file:
        os.fsync(file.fileno())
    passing.replace(place)


def _read(backup: Path) -> tuple[dict[str, object], list[Saved], Path]:
    if backup.is_dir():
        lists = sorted(backup.glob("backup-*.json"))
        if not lists:
            raise ConfigurationFault(f"{backup} holds no backup")
        backup = lists[-1]
    try:
        listed = json.loads(backup.read_text("utf-8"))
        files = [Saved(**each) for each in listed["files"]]
        if listed["radfed_backup"] != FORMAT or not listed["house"].startswith("coordinator/"):
            raise IntegrityFault(f"{backup} is not a coordinator's, or of another version")
    except (ValueError, KeyError, TypeError) as fault:
        raise IntegrityFault(f"{backup} is no list of a backup") from fault
    if any(".." in Path(each.path).parts or Path(each.path).is_absolute() for each in files):
        raise IntegrityFault(f"{backup} names a file outside of the coordinator")
    return listed, files, backup.parent


def _verify(saved: Saved, into: Path) -> None:
    content = _content(into, saved.sha256)
    if not content.exists():
        raise IntegrityFault(f"the backup lacks the content of {saved.path}")
    if _digest(content)[0] != saved.sha256:
        raise IntegrityFault(f"the backup's content of {saved.path} was altered")


def _verify_database(content: Path, name: str) -> None:
    try:
        with closing(sqlite3.connect(f"file:{content}?mode=ro&immutable=1", uri=True)) as still:
            (verdict,) = still.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as fault:
        raise IntegrityFault(f"{name} is no database: {fault}") from fault
    if verdict != "ok":
        raise IntegrityFault(f"{name} is damaged")


def _content(into: Path, digest: str) -> Path:
    return into / "objects" / digest[:2] / digest


def _digest(path: Path) -> tuple[str, int]:
    digest, size = sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _write(path: Path, content: bytes) -> None:
    passing = path.with_name(f".{path.name}")
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    passing.replace(path)
