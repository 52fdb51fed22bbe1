"""A backup put in place: every content verified, and nothing spent until it is reconciled."""

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag

from gateway.app.backup import SETTINGS, Progress, Saved, Shelf, opened, read_list
from gateway.app.build import build_audit
from gateway.app.outbound import build_privacy
from gateway.app.spent import open_spent
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig, load
from gateway.durable import make_durably, replace_durably, sync_directory
from gateway.errors import ConfigurationFault, IntegrityFault
from gateway.keys import SiteSecret
from gateway.notary import Spent
from gateway.policy import Policy, exact, load_policy

ESCROW = "keys/site.escrow.json"
DATA = re.compile(r"^data\s*=.*$", re.MULTILINE)
MARK = ".restoring"


def verify_backup(backup: Path, progress: Progress) -> dict[str, Any]:
    """Read every content again, and every database through; put nothing in place."""
    listed, files, shelf = read_list(backup)
    for done, each in enumerate(files):
        progress(done, len(files))
        shelf.verify(each)
        if each.form == "sqlite":
            _verify_database(shelf.path(each.sha256), each.path)
    return {
        "house": listed["house"],
        "at": listed["at"],
        "version": listed["version"],
        "files": len(files),
        "bytes": sum(each.size for each in files),
        "verdict": "every content is what it was",
    }


def restore(
    backup: Path, settings: Path, data: Path | None, code: str, by: str, progress: Progress
) -> dict[str, Any]:
    """Put a backup in place of nothing; run again, it goes on where it was stopped."""
    listed, files, shelf = read_list(backup)
    by_path = {each.path: each for each in files}
    secret = _secret(by_path, shelf, code)
    config = _settings(by_path, shelf, settings, data)
    mark = config.data / MARK
    if config.data.exists() and any(config.data.iterdir()) and not mark.exists():
        raise ConfigurationFault(f"{config.data} is not empty: a backup is put in place of nothing")
    make_durably(config.data)
    mark.touch()
    for done, each in enumerate(files):
        progress(done, len(files))
        if each.path != SETTINGS:
            _put(config.data, each, shelf, secret)
    config.site_secret.unlink(missing_ok=True)
    secret.store(config.site_secret)
    with closing(build_privacy(config)) as privacy:
        if privacy.waiting_since() is None:
            privacy.put_back()
        epoch = privacy.epoch
    _outdate_exact_tables(config, epoch)
    with closing(build_audit(config)) as audit:
        with closing(open_spent(config, audit)) as spent:
            spent.put_back()
        audit.verify()
        audit.record("restored", by=by, made_at=listed["at"], files=len(files))
    mark.unlink()
    sync_directory(config.data)
    _hand_over(config)
    return {
        "settings": str(settings),
        "data": str(config.data),
        "files": len(files),
        "made_at": listed["at"],
        "next": "radfed gateway preflight, then run; budgets are spent and looks taken again once "
        "the coordinator has shown its last checkpoint",
    }


def _outdate_exact_tables(config: GatewayConfig, epoch: str) -> None:
    from gateway.cohort.exact import ExactTables
    from gateway.store.index import Index
    from gateway.store.tally import Tally

    with (
        closing(Index.open(config.index_file)) as index,
        closing(ExactTables.open(config.exact_file, Tally(index))) as tables,
    ):
        tables.outdate(epoch)


@dataclass(frozen=True, slots=True)
class Word:
    """What a hospital says was spent since its backup; None where it does not know."""

    rho: float | None = None  # this year, in all
    bits: float | None = None
    looks: int | None = None
    trained: tuple[str, ...] | None = None  # labels


def reconcile(config: GatewayConfig, word: Word, by: str) -> dict[str, Any]:
    """Take the hospital's own word for what was spent; without one, all there is to spend."""
    with closing(build_privacy(config)) as privacy, closing(build_audit(config)) as audit:
        charged = 0
        policy = load_policy(config.policy_file)
        if privacy.waiting_since() is not None:
            rho = exact(policy.questions.rho_per_year if word.rho is None else word.rho)
            charged = privacy.reconcile(privacy.year, int(rho * 10**9), f"word of {by}")
            audit.record("ledger_reconciled", charged_nano_rho=charged, by=by)
        lost = _reconcile_spent(config, word, policy, audit, by)
        facts = {"state": "in force", "charged_rho": charged / 10**9}
        return facts | {
            "charged_bits": lost.milli_bits / 1000, "burnt_looks": lost.looks,
            "labels_unknown": lost.trained,
        }  # fmt: skip


def _reconcile_spent(
    config: GatewayConfig, word: Word, policy: Policy, audit: AuditTrail, by: str
) -> Spent:
    """Charge every vendor, and burn looks of every product, on top of what the books have."""
    with closing(open_spent(config, audit)) as books:
        if word.trained is not None:
            books.sets.name_trained(word.trained)
        if books.waiting_since() is None:
            return Spent(0, 0, 0)
        had = books.spent()
        bits = policy.jobs.leakage_bits_per_vendor_at_most if word.bits is None else word.bits
        looks = policy.tests.looks_per_product if word.looks is None else word.looks
        told = Spent(
            had.milli_bits + int(bits * 1000),
            had.looks + looks,
            had.trained + int(word.trained is None),
        )
        lost = books.reconcile(told, f"word of {by}")
        audit.record("spending_reconciled", by=by, **asdict(lost))
        return lost


def _hand_over(config: GatewayConfig) -> None:
    """Give what root has put in place to the account the gateway runs under."""
    if config.run_as is None or os.geteuid() != 0:
        return
    for top, _names, files in os.walk(config.data):
        for path in (Path(top), *(Path(top) / name for name in files)):
            shutil.chown(path, config.run_as)


def _settings(
    by_path: dict[str, Saved], shelf: Shelf, path: Path, data: Path | None
) -> GatewayConfig:
    """Use the settings that are there, or put those of the backup there."""
    if not path.exists():
        saved = by_path.get(SETTINGS)
        if saved is None:
            raise ConfigurationFault(f"{path} is missing, and the backup has no settings")
        shelf.verify(saved)
        text = shelf.path(saved.sha256).read_text("utf-8")
        if data is not None:
            text = DATA.sub(lambda _found: f"data = {json.dumps(str(data.absolute()))}", text, 1)
        make_durably(path.absolute().parent)
        replace_durably(path.absolute(), text.encode())
        path.chmod(0o644)
    elif data is not None and load(path).data.resolve() != data.resolve():
        raise ConfigurationFault(
            f"{path} exists and names another `data`: change it there, or leave --data"
        )
    return load(path)


def _secret(by_path: dict[str, Saved], shelf: Shelf, code: str) -> SiteSecret:
    if ESCROW not in by_path:
        raise IntegrityFault("the backup has no escrow of the site secret")
    shelf.verify(by_path[ESCROW])
    return SiteSecret.recover(shelf.path(by_path[ESCROW].sha256).read_text("utf-8"), code)


def _put(data: Path, saved: Saved, shelf: Shelf, secret: SiteSecret) -> None:
    """Write one file, its content verified as it is read; one that is there already is left."""
    place = data / saved.path
    if place.exists() and place.stat().st_mtime_ns == saved.mtime_ns:
        return
    make_durably(place.parent)
    shelf.verify(saved)
    passing = place.with_name(f".{place.name}.restoring")
    if saved.form == "sealed":
        try:
            content = opened(secret, shelf.path(saved.sha256).read_bytes())
        except InvalidTag as fault:
            raise IntegrityFault(f"{saved.path} does not open under this site's secret") from fault
        passing.write_bytes(content)
    else:
        shutil.copyfile(shelf.path(saved.sha256), passing)
        if _digest(passing) != saved.sha256:
            raise IntegrityFault(f"{saved.path} was not written as it was: check this disk")
    passing.chmod(saved.mode)
    with passing.open("rb") as file:
        os.fsync(file.fileno())
    passing.replace(place)
    os.utime(place, ns=(saved.mtime_ns, saved.mtime_ns))


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verify_database(content: Path, name: str) -> None:
    try:
        with closing(sqlite3.connect(f"file:{content}?mode=ro&immutable=1", uri=True)) as still:
            (verdict,) = still.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as fault:
        raise IntegrityFault(f"{name} in the backup is no database: {fault}") from fault
    if verdict != "ok":
        raise IntegrityFault(f"{name} in the backup is damaged")
