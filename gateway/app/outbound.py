"""How the outbound rooms are built from the settings: policy, gate, desk, sandbox, link."""

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from typing import Any

import structlog

from gateway.app.build import (
    build_audit,
    build_book,
    build_objects,
    build_policy,
    build_secret,
    build_signers,
)
from gateway.audit import AuditTrail
from gateway.cohort.answers import Answers
from gateway.cohort.privacy import PrivacyLedger
from gateway.config import GatewayConfig
from gateway.desk.cohorts import Cohorts
from gateway.desk.desk import Desk
from gateway.desk.examining import Examiner
from gateway.desk.locked_sets import LockedSets
from gateway.desk.rounds import Rounds
from gateway.desk.rules import OUTCOME_CODES
from gateway.errors import EnvironmentFault
from gateway.keys import Purpose
from gateway.link.credentials import Credentials, clock
from gateway.link.link import Link
from gateway.policy import Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from gateway.store.index import Index
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
    noise_key = build_secret(config).subkey(Purpose.NOISE)
    return Answers(policy, tally, PrivacyLedger.open(config.data / "privacy.db", noise_key))


def build_locked_sets(
    config: GatewayConfig, policy: Callable[[], Policy], audit: AuditTrail
) -> LockedSets:
    seed = build_secret(config).subkey(Purpose.REPORT)
    return LockedSets(config.desk_dir / "tests", seed, policy, audit)


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
    split_key = build_secret(config).subkey(Purpose.SPLIT)
    sets = build_locked_sets(config, policy, audit)
    book, objects = build_book(config), build_objects(config)
    signers = build_signers(config, book, policy, audit)
    rounds = Rounds(
        book,
        objects,
        Cohorts(tally, answers, config.store_dir, split_key),
        gate,
        policy,
        audit,
        signers,
        examiner=Examiner(Strata(index), sets),
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
    return Link(credentials, config.federation, gate, desk, status_file, VERSION, now)


def build_runner(config: GatewayConfig) -> Runner:
    limits = Limits(config.jobs.memory_bytes, config.jobs.processes, config.jobs.output_bytes)
    return Runner.on_this_machine(limits)


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
