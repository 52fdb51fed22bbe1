"""A rotation of the keys that hide patients: the key is turned, then the whole store follows.

What is turned is on disk before anything is made with it. From then on arrivals come under the new
version; a run that was cut short goes on when the command is repeated, beside a gateway or without.
Until every file has followed, the desk answers nothing and no job's round starts.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app.approving import end_frozen_jobs
from gateway.app.build import build_audit, build_secret, build_store, build_vault, patient_keys
from gateway.app.process import configure_logs, harden, only_one
from gateway.app.profiles import known_profiles, remember_profile
from gateway.app.rerunning import hold_store, require_room, settling_line
from gateway.app.setup import require_verified_escrow
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.deid import uids
from gateway.deid.facts import DeidFacts
from gateway.deid.rekey import Rekeyer
from gateway.errors import ConfigurationFault, EnvironmentFault, IntegrityFault
from gateway.keys import (
    Purpose,
    Rotation,
    end_rotation,
    key_versions,
    remember_rotation,
    remember_used,
    require_used,
    rotation_under_way,
    write_version,
)
from gateway.line.damage import NOT_REKEYED, set_aside
from gateway.line.rerun import Became, Making, Rerun
from gateway.line.worker import Line
from gateway.model import Pseudonym, PseudoUID
from gateway.store.faces import FaceRegions, RegionDamaged
from gateway.store.index import Index
from gateway.store.labels import copy_labels, drop_older_labels

SETTLED_EVERY = 200
Advance = Callable[[int, int], None]


def rotate_patients(
    config: GatewayConfig, purpose: Purpose, by: str, progress: Advance, *, only_turn: bool = False
) -> dict[str, Any]:
    """Turn a key, unless that was done, and bring every stored instance to its new version."""
    harden(config.run_as)
    configure_logs()
    require_verified_escrow(config)
    with ExitStack() as held:
        audit = held.enter_context(closing(build_audit(config)))
        rotation = _turned(config, purpose, by, audit)
        document = {"key": str(rotation.key), "version": rotation.version}
        if only_turn:
            return document | {"under_way": True}
        running = hold_store(config, held)
        counts = _Run(config, rotation, audit, held).run(progress, running=running)
    return document | {
        "under_way": False,
        "renewed": counts[Became.RENEWED],
        "set_aside": counts[Became.REFUSED],
        "damaged": counts[Became.DAMAGED],
    }


def _turned(config: GatewayConfig, purpose: Purpose, by: str, audit: AuditTrail) -> Rotation:
    """Return the rotation under way; begin one where none is, with nobody taking instances."""
    rotation = rotation_under_way(config.keys_dir)
    if rotation is not None and rotation.key is not purpose:
        raise ConfigurationFault(
            f"the {rotation.key} key is being rotated: let `keys rotate {rotation.key}` end first"
        )
    written = key_versions(config.keys_dir)[purpose]
    if rotation is not None and written == rotation.version:
        return rotation
    with ExitStack() as held:
        held.enter_context(only_one(config.run_dir / "lock"))
        _hold(held, config.run_dir / "rerun.lock", "a run over the store is under way")
        _hold(held, config.takers_lock, "an import or a fetch is under way")
        if rotation is None:
            require_used(config.used_versions_file, config.keys_dir)
            instances = _require_known(config)
            rotation = Rotation(purpose, written + 1, by, 0, instances)
            remember_rotation(config.keys_dir, rotation)
        turned = {"version": rotation.version, "instances": rotation.instances}
        audit.record("rotation_started", key=str(purpose), by=by, **turned)
        end_frozen_jobs(config, by)
        write_version(config.keys_dir, purpose, rotation.version)
        remember_used(config.used_versions_file, config.keys_dir)
    return rotation


def _hold(held: ExitStack, lock_file: Path, what: str) -> None:
    try:
        held.enter_context(only_one(lock_file))
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"{what}: let it end") from fault


def _require_known(config: GatewayConfig) -> int:
    """Count what is stored; refuse where it cannot be told what a profile did to some of it."""
    store = build_store(config, build_secret(config))
    remember_profile(config)
    known = known_profiles(config)
    count = unknown = 0
    for path in store.files():
        count += 1
        try:
            unknown += store.record_of(path).facts.profile_digest not in known
        except (FileNotFoundError, IntegrityFault):
            continue  # moved, or for `reindex` to set aside
    if unknown:
        raise ConfigurationFault(
            f"{unknown} of {count} instances are stored under a profile that is not known any "
            f"more: restore {config.profiles_dir}, or fetch them again under today's"
        )
    return count


class _Run:
    """One run over the store."""

    def __init__(
        self, config: GatewayConfig, rotation: Rotation, audit: AuditTrail, held: ExitStack
    ) -> None:
        remember_used(config.used_versions_file, config.keys_dir)
        secret = build_secret(config)
        self._config = config
        self._rotation = rotation
        self._audit = audit
        self._store = build_store(config, secret)
        self._vault = build_vault(config, secret)
        self._index = held.enter_context(closing(Index.open(config.index_file)))
        keys = patient_keys(config, secret)
        self._pseudonyms = keys[0]
        self._rekeyers = {
            digest: Rekeyer(profile, *keys) for digest, profile in known_profiles(config).items()
        }
        self._regions = FaceRegions(config.store_dir)
        self._rerun = Rerun(self._store, self._choose, lambda uid: self._index.forget([uid]))

    def run(self, progress: Advance, *, running: bool) -> Counter[Became]:
        counts: Counter[Became] = Counter()
        version = len(self._pseudonyms)
        copy_labels(self._index, version, self._remapped, self._renamed)
        with settling_line(self._config, self._audit, running=running) as line:
            while self._pass(counts, progress, line):
                continue
            if line is not None:
                line.settle()
        drop_older_labels(self._index, version)
        self._index.drop_empty()
        self._drop_old_faces()
        end_rotation(self._config.keys_dir)
        said = {str(became): count for became, count in sorted(counts.items()) if count}
        said["version"] = self._rotation.version
        self._audit.record("key_rotated", key=str(self._rotation.key), by=self._rotation.by, **said)
        return counts

    def _pass(self, counts: Counter[Became], progress: Advance, line: Line | None) -> bool:
        """Go over the store once; say whether a file may have slipped by."""
        found: Counter[Became] = Counter()
        total = self._rotation.instances
        for done, path in enumerate(self._store.files(), 1):
            require_room(self._config, path)
            became = self._rerun.renew(path)
            if became in (Became.REFUSED, Became.OUT_OF_REACH):
                became = self._set_aside(path)
            found[became] += 1
            if done % SETTLED_EVERY == 0:
                self._remember(done)
                if line is not None:
                    line.settle()
            progress(min(done, total), total)
        for became in (Became.RENEWED, Became.REFUSED):
            counts[became] += found[became]
        counts[Became.DAMAGED] = found[Became.DAMAGED]
        return found[Became.RENEWED] + found[Became.GONE] > 0

    def _choose(self, facts: DeidFacts) -> Making | Became:
        rekeyer = self._rekeyers.get(facts.profile_digest)
        if rekeyer is None:
            return Became.OUT_OF_REACH
        if rekeyer.is_newest(facts):
            return Became.ALREADY
        self._lead_face(rekeyer, facts)
        return rekeyer

    def _lead_face(self, rekeyer: Rekeyer, facts: DeidFacts) -> None:
        """Let what is known of a series' face go before its slices: late ones will ask for it."""
        series = rekeyer.named(facts, facts.series_uid)
        try:
            region = self._regions.of(facts.series_uid)
        except RegionDamaged:
            return  # said when a late slice asks
        if region is not None and series != facts.series_uid:
            frame = rekeyer.named(facts, PseudoUID(region.frame))
            self._regions.keep(series, replace(region, frame=frame))

    def _drop_old_faces(self) -> None:
        held = {row["series_uid"] for row in self._index.read("SELECT series_uid FROM series")}
        for series in list(self._regions.series()):
            if series not in held:
                self._regions.forget(series)

    def _remapped(self, uid: PseudoUID, written: int) -> PseudoUID:
        return uids.remapped(uid, self._pseudonyms[written:])

    def _renamed(self, patient: Pseudonym, written: int) -> Pseudonym:
        return uids.renamed(patient, self._pseudonyms[written:])

    def _set_aside(self, path: Path) -> Became:
        """Keep out of every cohort, and for a person, what cannot follow."""
        here = self._rerun.where(path)
        now = datetime.now(UTC)
        set_aside(self._store, self._vault, here, self._audit, now, NOT_REKEYED)
        self._index.forget([PseudoUID(path.stem)])
        return Became.REFUSED

    def _remember(self, done: int) -> None:
        self._rotation = replace(self._rotation, done=min(done, self._rotation.instances))
        remember_rotation(self._config.keys_dir, self._rotation)
