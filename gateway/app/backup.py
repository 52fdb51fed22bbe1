"""A backup: what the gateway holds, by content, while it runs; of the site secret the escrow alone.

A directory takes many backups: a list of files for each, and the contents once, named by their
SHA-256. Private keys lie in it sealed under a subkey of the site secret.
"""

import json
import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.app.build import build_audit, build_secret
from gateway.app.outbound import VERSION
from gateway.app.setup import require_verified_escrow
from gateway.config import GatewayConfig
from gateway.durable import replace_durably, sync_directory
from gateway.errors import ConfigurationFault, EnvironmentFault, IntegrityFault
from gateway.keys import Purpose, SiteSecret

FORMAT = 1
CHUNK = 1 << 20
WALKS = 3  # a file that moves from one directory to another meanwhile is met in one of them
SETTINGS = "settings/gateway.toml"
NONCE_BYTES = 12
DATABASE = re.compile(r"\.db(-wal|-shm|-journal)?$")
# What a running gateway says of itself, what is made again, and the secret in the clear.
LEFT_OUT = frozenset(
    {
        "run",
        "desk/jobs",
        "keys/site.secret",
        "keys/.guest",
        "audit.reserve",
        "index.columns",
        "sums",  # brought back, it would reveal of a hospital what it has not revealed yet
    }
)
LASTING = frozenset({"store/.key-versions.json"})  # what else begins with a dot is half written

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Saved:
    """One file of a backup."""

    path: str  # below `data`
    sha256: str  # of what lies in the backup
    size: int
    mode: int
    mtime_ns: int
    form: str  # file | sqlite | sealed


class Shelf:
    """The contents, each once, each verified as it is read again."""

    def __init__(self, directory: Path) -> None:
        self._objects = directory / "objects"

    def path(self, digest: str) -> Path:
        return self._objects / digest[:2] / digest

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Lend room on the backup's own disk: the gateway's may be full."""
        self._objects.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.TemporaryDirectory(dir=self._objects)

    def put(self, source: Path) -> tuple[str, int]:
        """Copy a file in, durably; return its digest and size. Repeated, it costs a reading."""
        self._objects.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest, size = sha256(), 0
        descriptor, passing = tempfile.mkstemp(dir=self._objects)
        try:
            with os.fdopen(descriptor, "wb") as draft, source.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    draft.write(chunk)
                    size += len(chunk)
                draft.flush()
                os.fsync(draft.fileno())
            place = self.path(digest.hexdigest())
            place.parent.mkdir(exist_ok=True, mode=0o700)
            Path(passing).replace(place)
            sync_directory(place.parent)
        finally:
            Path(passing).unlink(missing_ok=True)
        return digest.hexdigest(), size

    def verify(self, saved: Saved) -> None:
        """Read a content again; IntegrityFault where it is not what it was."""
        digest = sha256()
        try:
            with self.path(saved.sha256).open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        except FileNotFoundError as fault:
            raise IntegrityFault(
                f"the backup lacks the content {saved.sha256[:16]} of {saved.path}"
            ) from fault
        if digest.hexdigest() != saved.sha256:
            raise IntegrityFault(f"the backup's content {saved.sha256[:16]} was altered")


def back_up(
    config: GatewayConfig, settings: Path, into: Path, by: str, progress: Progress
) -> dict[str, Any]:
    """Take a backup into a directory, beside earlier ones; the gateway may run."""
    require_verified_escrow(config)
    _refuse_inside(config, into)
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    shelf, secret = Shelf(into), build_secret(config)
    known = _known(into)
    with closing(build_audit(config)) as audit:
        audit.record("backup_begun", by=by)
    saved: dict[str, Saved] = {}
    for path in _databases(config.data):  # first: files that they do not know yet do no harm
        saved[path] = _save_database(config.data, path, shelf)
    for _ in range(WALKS):
        fresh = [path for path in _files(config.data) if path not in saved]
        for done, path in enumerate(fresh):
            progress(done, len(fresh))
            with suppress(FileNotFoundError):  # it moved: the next walk meets it
                saved[path] = _save(config.data, path, shelf, secret, known)
    saved[SETTINGS] = _saved(SETTINGS, settings, *shelf.put(settings), "file")
    for each in saved.values():
        if known.get(each.path) != each:
            shelf.verify(each)
    made = datetime.now(UTC)
    listed: dict[str, Any] = {
        "radfed_backup": FORMAT,
        "house": f"gateway/{config.site}",
        "version": VERSION,
        "at": made.isoformat(),
        "files": [asdict(each) for _path, each in sorted(saved.items())],
    }
    content = json.dumps(listed, indent=1).encode()
    name = into / f"backup-{made:%Y%m%dT%H%M%S%f}.json"
    replace_durably(name, content)
    digest = sha256(content).hexdigest()
    with closing(build_audit(config)) as audit:
        audit.record("backup_made", by=by, files=len(saved), sha256=digest)
    return {
        "backup": str(name),
        "files": len(saved),
        "bytes": sum(each.size for each in saved.values()),
        "sha256": digest,
        "secret": "in escrow form: the recovery code opens it",
    }


def read_list(backup: Path) -> tuple[dict[str, Any], list[Saved], Shelf]:
    """Read a backup's list of files; a directory means the newest in it."""
    if backup.is_dir():
        lists = sorted(backup.glob("backup-*.json"))
        if not lists:
            raise ConfigurationFault(f"{backup} holds no backup")
        backup = lists[-1]
    try:
        listed = json.loads(backup.read_text("utf-8"))
        files = [Saved(**each) for each in listed["files"]]
        if listed["radfed_backup"] != FORMAT:
            raise IntegrityFault(f"{backup} was made by another version of radfed")
    except (ValueError, KeyError, TypeError) as fault:
        raise IntegrityFault(f"{backup} is no list of a backup") from fault
    for each in files:
        if Path(each.path).is_absolute() or ".." in Path(each.path).parts:
            raise IntegrityFault(f"{backup} names a file outside of the gateway")
    return listed, files, Shelf(backup.parent)


def sealed(secret: SiteSecret, content: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(secret.subkey(Purpose.BACKUP)).encrypt(nonce, content, b"radfed backup")


def opened(secret: SiteSecret, content: bytes) -> bytes:
    nonce, rest = content[:NONCE_BYTES], content[NONCE_BYTES:]
    return AESGCM(secret.subkey(Purpose.BACKUP)).decrypt(nonce, rest, b"radfed backup")


def _refuse_inside(config: GatewayConfig, into: Path) -> None:
    if config.data.resolve() in (into.resolve(), *into.resolve().parents):
        raise ConfigurationFault(f"{into} is inside of what is backed up: choose another disk")


def _known(into: Path) -> dict[str, Saved]:
    """Return what the last backup had, so that files that did not change are not read again."""
    if not list(into.glob("backup-*.json")):
        return {}
    _listed, files, _shelf = read_list(into)
    return {each.path: each for each in files if each.form == "file"}


def _files(data: Path) -> Iterator[str]:
    """Yield what is to be saved, but the databases: paths below `data`."""
    for top, names, files in os.walk(data):
        below = Path(top).relative_to(data)
        names[:] = [name for name in names if str(below / name) not in LEFT_OUT]
        for name in files:
            path = str(below / name)
            passing = name.startswith(".") and path not in LASTING
            if path not in LEFT_OUT and not passing and not DATABASE.search(name):
                yield path


def _databases(data: Path) -> list[str]:
    found = []
    for top, names, files in os.walk(data):
        below = Path(top).relative_to(data)
        names[:] = [name for name in names if _may_hold_databases(str(below / name))]
        found += [str(below / name) for name in files if name.endswith(".db")]
    return sorted(path for path in found if not Path(path).name.startswith("."))


def _may_hold_databases(directory: str) -> bool:
    """Pass over what is left out, and the store: it is large, and holds files alone."""
    return directory not in LEFT_OUT and directory != "store"


def _save_database(data: Path, path: str, shelf: Shelf) -> Saved:
    """Copy a database as one moment of it (SQLite's backup), whoever writes meanwhile."""
    with shelf.scratch() as own:
        copy = Path(own) / "copy.db"
        try:
            with (
                closing(sqlite3.connect(data / path)) as live,
                closing(sqlite3.connect(copy)) as still,
            ):
                live.backup(still)
                still.execute("PRAGMA journal_mode=DELETE")
                (verdict,) = still.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.Error as fault:
            raise EnvironmentFault(f"{path} cannot be copied: {fault}") from fault
        if verdict != "ok":
            raise IntegrityFault(f"{path} is damaged: nothing was backed up")
        return _saved(path, data / path, *shelf.put(copy), "sqlite")


def _save(
    data: Path, path: str, shelf: Shelf, secret: SiteSecret, known: dict[str, Saved]
) -> Saved:
    file = data / path
    if path.startswith("keys/") and path.endswith((".key", ".pending")):
        with tempfile.NamedTemporaryFile() as passing:
            passing.write(sealed(secret, file.read_bytes()))
            passing.flush()
            return _saved(path, file, *shelf.put(Path(passing.name)), "sealed")
    found, last = file.stat(), known.get(path)
    same = last and (last.size, last.mtime_ns) == (found.st_size, found.st_mtime_ns)
    if last and same and shelf.path(last.sha256).exists():
        return last
    return _saved(path, file, *shelf.put(file), "file")


def _saved(path: str, file: Path, digest: str, size: int, form: str) -> Saved:
    found = file.stat()
    return Saved(path, digest, size, stat.S_IMODE(found.st_mode), found.st_mtime_ns, form)
