"""How the outbound rooms are built from the settings: policy, gate, desk, sandbox, link."""

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app.build import (
    build_audit,
    build_book,
    build_charging,
    build_objects,
    build_policy,
    build_register,
    build_secret,
    build_signers,
    build_store,
    patient_keys,
)
from gateway.audit import AuditTrail
from gateway.cohort.answers import Answers
from gateway.cohort.exact import ExactTables
from gateway.cohort.privacy import PrivacyLedger
from gateway.config import GatewayConfig
from gateway.desk.cohorts import Cohorts
from gateway.desk.desk import Desk
from gateway.desk.examining import Examiner
from gateway.desk.locked_sets import LockedSets
from gateway.desk.references import References
from gateway.desk.rounds import Rounds
from gateway.desk.rules import OUTCOME_CODES
from gateway.desk.sum_book import SumBook
from gateway.desk.sums import Sums
from gateway.errors import EnvironmentFault, GatewayError
from gateway.keys import Purpose, rotation_under_way
from gateway.link.control import Standing
from gateway.link.credentials import Credentials, clock
from gateway.link.link import Link
from gateway.notary import Notary
from gateway.policy import Policy
from gateway.release.condition import Condition
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from gateway.sandbox import gpus
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from gateway.store.index import Index
from gateway.store.roots import Roots
from gateway.store.snapshot import Snapshot
from gateway.store.strata import Strata
from gateway.store.tally import Tally

log = structlog.get_logger()

VERSION = version("radfed")


def build_gate(config: GatewayConfig, policy: Callable[[], Policy]) -> Gate:
    ledger = Ledger.open(config.ledger_file)
    return Gate(policy, ledger, build_shelf(config), OUTCOME_CODES)


def build_shelf(config: GatewayConfig) -> UpdateShelf:
    return UpdateShelf(config.desk_dir / "updates")


def build_answers(config: GatewayConfig, policy: Callable[[], Policy], tally: Tally) -> Answers:
    return Answers(
        policy,
        tally,
        build_privacy(config),
        partial(is_rotating, config),
        exact_tables=ExactTables.open(config.exact_file, tally),
    )


def build_privacy(config: GatewayConfig) -> PrivacyLedger:
    def noise_key(key_version: int) -> bytes:
        return build_secret(config).subkey(Purpose.NOISE, key_version)

    return PrivacyLedger.open(config.privacy_file, noise_key)


def is_rotating(config: GatewayConfig) -> bool:
    return rotation_under_way(config.keys_dir) is not None


def build_notary(config: GatewayConfig, federation: str) -> Notary:
    from gateway.app.spent import open_spent

    audit = build_audit(config)
    return Notary.open(
        config.checkpoints_file,
        config.site,
        federation,
        checkpoint_key(config),
        audit,
        Ledger.open(config.ledger_file),
        build_privacy(config),
        spending=open_spent(config, audit),
    )


def checkpoint_key(config: GatewayConfig) -> Ed25519PrivateKey:
    """Return the key that signs this house's checkpoints: a subkey: escrowed with the secret."""
    seed = build_secret(config).subkey(Purpose.CHECKPOINT)
    return Ed25519PrivateKey.from_private_bytes(seed)


def sum_key(config: GatewayConfig) -> Ed25519PrivateKey:
    """Return the key that other hospitals pin: it certifies what this one says in a secure sum."""
    seed = build_secret(config).subkey(Purpose.SUM)
    return Ed25519PrivateKey.from_private_bytes(seed)


def build_locked_sets(
    config: GatewayConfig, policy: Callable[[], Policy], audit: AuditTrail
) -> LockedSets:
    seed = build_secret(config).subkey(Purpose.REPORT)
    return LockedSets(config.desk_dir / "tests", seed, policy, audit)


def build_cohorts(config: GatewayConfig, index: Index, tally: Tally, answers: Answers) -> Cohorts:
    """Build what selects and divides patients: by the names they had before any rotation."""
    secret = build_secret(config)
    keys, _ = patient_keys(config, secret)
    decided = build_register(config, secret).first_names if len(keys) > 1 else dict
    record_of = build_store(config, secret).record_of
    roots = Roots(index, config.store_dir, record_of, keys, decided)
    split_key, rotating = secret.subkey(Purpose.SPLIT), partial(is_rotating, config)
    return Cohorts(tally, answers, config.store_dir, split_key, rotating, roots.of)


def build_examiner(
    config: GatewayConfig, index: Index, sets: LockedSets, audit: AuditTrail
) -> Examiner:
    strata = Strata(index)
    return Examiner(strata, sets, References(strata, config.store_dir, audit))


def build_desk(
    config: GatewayConfig,
    policy: Callable[[], Policy],
    gate: Gate,
    audit: AuditTrail,
    runner: Runner | None,
) -> Desk:
    """Build the request line; without a runner it refuses every job and all else goes on."""
    index = Index.open(config.index_file)
    snapshot = Snapshot(index, config.index_file)
    snapshot.begin()
    tally = Tally(index, snapshot)
    answers = build_answers(config, policy, tally)
    sets = build_locked_sets(config, policy, audit)
    book, objects = build_book(config), build_objects(config)
    signers = build_signers(config, book, policy, audit)
    rounds = Rounds(
        book,
        objects,
        build_cohorts(config, index, tally, answers),
        gate,
        policy,
        audit,
        signers,
        build_charging(config, policy),
        examiner=build_examiner(config, index, sets, audit),
        sums=Sums(
            config.site,
            book,
            SumBook.open(config.sums_file),
            gate,
            policy,
            audit,
            sum_key(config),
            sets,
        ),
        runner=runner,
        directory=config.desk_dir / "jobs",
        wall_seconds=config.jobs.wall_seconds,
    )
    return Desk(book, objects, policy, audit, answers, rounds, signers)


def build_link(
    config: GatewayConfig,
    credentials: Credentials,
    gate: Gate,
    desk: Desk,
    now: Callable[[], datetime] = clock,
) -> Link:
    status_file = config.run_dir / "link.json"
    standing = Standing(
        condition=lambda: _condition_where_readable(config),
        notary=build_notary(config, credentials.identity.federation),
    )
    return Link(
        credentials, config.federation, gate, desk, status_file, VERSION, now, standing=standing
    )


def _condition_where_readable(config: GatewayConfig) -> Condition | None:
    """Say nothing rather than lose the link: a heartbeat goes without it."""
    try:
        return condition_of(config)
    except (GatewayError, OSError):
        return None


def condition_of(config: GatewayConfig) -> Condition:
    """Look at backlog, disk and certificate; what of it leaves is coarse."""
    room = shutil.disk_usage(config.data)
    credentials = Credentials.load(config.keys_dir)
    left = credentials.not_after - clock() if credentials else timedelta(0)
    return Condition(
        backlog=len(build_store(config, build_secret(config)).arrived(at_most=-1)),
        disk_free=room.free,
        disk_total=room.total,
        accepting=room.free > config.disk.reserve_bytes,
        certificate_days=left / timedelta(days=1),
    )


def build_runner(config: GatewayConfig) -> Runner:
    limits = Limits(config.jobs.memory_bytes, config.jobs.processes, config.jobs.output_bytes)
    offered = {name: path for name, path in config.jobs.runtimes.items() if path.is_dir()}
    for name in sorted(config.jobs.runtimes.keys() - offered):
        log.error("runtime_missing", runtime=name)
    isolation = build_policy(config)().jobs.isolation
    turns = gpus.Turns(gpus.find(), config.run_dir / "gpus")
    return Runner.on_this_machine(limits, offered=offered, isolation=isolation, turns=turns)


def trusted_runner(config: GatewayConfig) -> Runner | None:
    """Return a runner that confines; without one, every job is refused and all else goes on."""
    try:
        runner = build_runner(config)
        problems = runner.self_test()
    except EnvironmentFault as fault:
        problems = [str(fault)]
    if problems:
        log.error("jobs_refused", problems=problems)
        return None
    return runner


def enrol_gateway(config: GatewayConfig, token: str, by: str, *, force: bool) -> dict[str, Any]:
    """Trade an invitation for this gateway's certificate."""
    from gateway.link.enrol import enrol

    gate = build_gate(config, build_policy(config))
    credentials = enrol(token, config, gate, VERSION, by, force=force)
    audit = build_audit(config)
    audit.record("enrolled", identity=credentials.identity.uri, by=by)
    audit.close()
    return {
        "identity": credentials.identity.uri,
        "coordinator": credentials.address,
        "certificate_expires": credentials.not_after.isoformat(),
    }
