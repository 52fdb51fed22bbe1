"""`deid rerun`: the store brought to the profile in force, as far as it is the stricter one."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit, build_line, build_secret, build_store, patient_keys
from gateway.app.process import configure_logs, harden, is_running, only_one, read_state
from gateway.app.profiles import known_profiles, remember_profile
from gateway.app.setup import require_verified_escrow
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.deid.facts import DeidFacts
from gateway.deid.profile import Profile
from gateway.deid.restrict import Restrictor
from gateway.deid.strictness import Compared, Relation, compare
from gateway.durable import free_bytes
from gateway.errors import (
    EnvironmentFault,
    ExitCode,
    GatewayError,
    IntegrityFault,
    ReserveReached,
)
from gateway.keys import rotation_under_way
from gateway.line.rerun import Became, Making, Rerun
from gateway.line.worker import Line
from gateway.model import PseudoUID
from gateway.store.files import Store
from gateway.store.index import Index
from gateway.store.sealed import SealedRecord

SETTLED_EVERY = 200
UNKNOWN = Compared(
    Relation.LOOSER, ("made by another version of radfed, or its profile is not known",)
)
Advance = Callable[[int, int], None]


class Looser(GatewayError):
    """What the profile in force keeps is not in the store."""

    exit_code = ExitCode.REFUSED_PRIVACY


@dataclass(slots=True)
class _Held:
    """What the store holds under one profile: how much, and where the PACS has it."""

    instances: int = 0
    years: set[int] = field(default_factory=set)
    modalities: set[str] = field(default_factory=set)
    undated: int = 0

    def add(self, record: SealedRecord) -> None:
        facts = record.facts
        self.instances += 1
        if facts.study_year is None:
            self.undated += 1
        else:
            self.years.add(facts.study_year)
        self.modalities |= {facts.modality} if facts.modality else set()


def rerun_store(
    config: GatewayConfig, by: str, progress: Advance, *, only_look: bool = False
) -> dict[str, Any]:
    """Bring every stored instance to the profile in force; a run cut short is simply repeated."""
    harden(config.run_as)
    configure_logs()
    require_verified_escrow(config)
    with ExitStack() as held:
        running = hold_store(config, held)
        if rotation_under_way(config.keys_dir):
            raise EnvironmentFault("a key is being rotated: let `keys rotate` end first")
        profile = remember_profile(config)
        _refuse_another_profile(config, profile, running=running)
        secret = build_secret(config)
        store = build_store(config, secret)
        census, damaged = _census(store)
        relations = _relations(config, profile, census)
        document = _described(config, profile, census, relations) | {"damaged": damaged}
        if only_look:
            return document
        stricter = {d for d, found in relations.items() if found.relation is Relation.STRICTER}
        looser = {d for d, found in relations.items() if found.relation is Relation.LOOSER}
        if looser and not stricter:
            raise Looser(_sentence(profile, document["fetch"]))
        if not stricter:
            return document | {"renewed": 0, "refused": 0}
        keys = patient_keys(config, secret)
        known = known_profiles(config)
        restrictors = {d: Restrictor(known[d], profile, *keys) for d in stricter}
        audit = build_audit(config)
        held.callback(audit.close)
        index = Index.open(config.index_file)
        held.callback(index.close)

        def choose(facts: DeidFacts) -> Making | Became:
            if facts.profile_digest == profile.digest:
                return Became.ALREADY
            return restrictors.get(facts.profile_digest, Became.OUT_OF_REACH)

        rerun = Rerun(store, choose, lambda uid: _forget(index, uid))
        work = _Work(config, store, rerun, audit)
        counts = work.run(sum(one.instances for one in census.values()), by, progress, running)
    return document | {
        "renewed": counts[Became.RENEWED],
        "refused": counts[Became.REFUSED],
        "damaged": counts[Became.DAMAGED],
        "gone": counts[Became.GONE],
    }


def _forget(index: Index, uid: PseudoUID) -> None:
    index.forget([uid])
    index.drop_empty()


def hold_store(config: GatewayConfig, held: ExitStack) -> bool:
    """Be the only run over the store; say whether a gateway runs, or keep it from starting."""
    try:
        held.enter_context(only_one(config.run_dir / "rerun.lock"))
    except EnvironmentFault as fault:
        raise EnvironmentFault("a run over the store is under way already: let it end") from fault
    if is_running(config.run_dir / "lock"):
        return True
    held.enter_context(only_one(config.run_dir / "lock"))
    return False


def _refuse_another_profile(config: GatewayConfig, profile: Profile, *, running: bool) -> None:
    if running and read_state(config.run_dir / "node.json").get("profile") != profile.digest:
        raise EnvironmentFault(
            "the gateway still runs under another profile: start it anew, then run this again"
        )


def _census(store: Store) -> tuple[dict[str, _Held], int]:
    """Count what is stored by profile, from the sealed records: the index is only a view."""
    census: dict[str, _Held] = {}
    damaged = 0
    for path in store.files():
        try:
            record = store.record_of(path)
        except FileNotFoundError:
            continue  # the line moved it
        except IntegrityFault:
            damaged += 1
            continue
        census.setdefault(record.facts.profile_digest, _Held()).add(record)
    return census, damaged


def _relations(
    config: GatewayConfig, profile: Profile, census: Mapping[str, _Held]
) -> dict[str, Compared]:
    known = known_profiles(config)
    return {
        digest: compare(known[digest], profile) if digest in known else UNKNOWN for digest in census
    }


def _described(
    config: GatewayConfig,
    profile: Profile,
    census: Mapping[str, _Held],
    relations: Mapping[str, Compared],
) -> dict[str, Any]:
    known = known_profiles(config)
    stored = [
        {
            "profile": known[digest].name if digest in known else "unknown",
            "digest": digest,
            "instances": held.instances,
            "relation": "stricter now"
            if relations[digest].relation is Relation.STRICTER
            else str(relations[digest].relation),
            "needs": list(relations[digest].why),
        }
        for digest, held in sorted(census.items(), key=lambda pair: -pair[1].instances)
    ]
    beyond = [
        held for digest, held in census.items() if relations[digest].relation is Relation.LOOSER
    ]
    return {
        "profile": profile.name,
        "digest": profile.digest,
        "stored": stored,
        "fetch": [*_fetches(config, beyond)],
        "undated": sum(held.undated for held in beyond),
    }


def _fetches(config: GatewayConfig, beyond: list[_Held]) -> Iterator[str]:
    """Spell the back-fill that brings what the store has not; whole years name no one's day."""
    years = sorted(set().union(*(held.years for held in beyond)))
    peer = next((peer.name for peer in config.intake.peers if peer.host and peer.port), "PACS")
    modalities = sorted(set().union(*(held.modalities for held in beyond)))
    if years:
        wanted = " ".join(f"--modality {one}" for one in modalities if one != "OTHER")
        yield (
            f"radfed gateway fetch --again --from {peer} "
            f"--date {years[0]}-01-01..{years[-1]}-12-31 {wanted}"
        ).strip()


def _sentence(profile: Profile, fetches: list[str]) -> str:
    told = f"`{fetches[0]}`" if fetches else "send the studies again from the PACS"
    return (
        f"{profile.name} keeps what the store has not, so that a rerun cannot make it: "
        f"fetch it again with {told}"
    )


class _Work:
    """One run over the store."""

    def __init__(
        self, config: GatewayConfig, store: Store, rerun: Rerun, audit: AuditTrail
    ) -> None:
        self._config = config
        self._store = store
        self._rerun = rerun
        self._audit = audit

    def run(self, total: int, by: str, progress: Advance, running: bool) -> Counter[Became]:  # noqa: FBT001
        counts: Counter[Became] = Counter()
        digest = remember_profile(self._config).digest
        self._audit.record("rerun_started", profile=digest, instances=total, by=by)
        try:
            with settling_line(self._config, self._audit, running=running) as line:
                for done, path in enumerate(self._store.files(), 1):
                    require_room(self._config, path)
                    counts[self._rerun.renew(path)] += 1
                    if line is not None and done % SETTLED_EVERY == 0:
                        line.settle()
                    progress(min(done, total), total)
                if line is not None:
                    line.settle()
        finally:
            said = {str(became): count for became, count in sorted(counts.items())}
            self._audit.record("rerun_ended", profile=digest, by=by, **said)
        return counts


def require_room(config: GatewayConfig, path: Path) -> None:
    """Refuse to write another copy of a file into the reserve."""
    bytes_to_come = path.stat().st_size if path.exists() else 0
    if free_bytes(config.data) - bytes_to_come < config.disk.reserve_bytes:
        raise ReserveReached("the disk is down to its reserve: free some, and run this again")


@contextmanager
def settling_line(
    config: GatewayConfig, audit: AuditTrail, *, running: bool
) -> Iterator[Line | None]:
    """Settle arrivals ourselves where no gateway does."""
    if running:
        yield None
        return
    line = build_line(config, audit)
    try:
        yield line
    finally:
        line.close()
