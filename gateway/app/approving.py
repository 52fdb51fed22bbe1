"""What a steward learns of a vendor's job before and after deciding on it."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.app.build import (
    build_audit,
    build_book,
    build_charging,
    build_objects,
    build_policy,
    build_signers,
)
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.desk import dossier
from gateway.desk.book import Book
from gateway.desk.logs import JobLogs
from gateway.desk.offers import Offers
from gateway.desk.trying import Tries
from gateway.errors import ConfigurationFault, EnvironmentFault, ExitCode, GatewayError, Refused
from gateway.policy import Policy
from protos.job_manifest import JobManifest

if TYPE_CHECKING:
    from gateway.desk.cohorts import Cohorts

Rows = list[dict[str, Any]]
NOT_FETCHED = "its bundle has not been fetched yet"


class NothingLogged(GatewayError):
    exit_code = ExitCode.CONFIGURATION

    def __init__(self, job: str) -> None:
        super().__init__(f"no round of {job} has run here within a month: there is no log")


class BudgetSpent(GatewayError):
    exit_code = ExitCode.REFUSED_PRIVACY

    def __init__(self, vendor: str) -> None:
        super().__init__(
            f"{vendor} has spent its bits: raise jobs.leakage_bits_per_vendor_at_most or keep it"
        )


@dataclass(frozen=True, slots=True)
class _Inbox:
    offers: Offers
    book: Book
    audit: AuditTrail
    policy: Policy


def approvals(config: GatewayConfig) -> Rows:
    with _inbox(config) as inbox:
        return [asdict(approval) for approval in inbox.offers.approvals()]


def approval(config: GatewayConfig, job: str, *, with_code: bool) -> dict[str, Any]:
    """Return what a steward needs to decide: purpose, terms, what would leave, and the code."""
    with _inbox(config) as inbox:
        offers = inbox.offers
        shown = asdict(offers.approval(job))
        code, manifest = offers.code(job), offers.manifest(job)
        if shown["leakage_bits_per_round"] < 0:
            shown["leakage_bits_per_round"] = dossier.NO_BOUND
        if manifest is not None:
            shown |= _dossier(config, inbox, job, manifest, code)
    if not with_code:
        return shown | {"files": {name: len(content) for name, content in code.items()}}
    return shown | {"files": {name: _text(content) for name, content in code.items()}}


def _dossier(
    config: GatewayConfig,
    inbox: _Inbox,
    job: str,
    manifest: JobManifest,
    code: Mapping[str, bytes],
) -> dict[str, Any]:
    charging, offers = build_charging(config, build_policy(config)), inbox.offers
    vendor, digest = offers.approval(job).vendor, offers.approval(job).bundle_digest
    before = offers.approved_before(job)
    changed = dossier.changes(offers.code(before), code) if before else ""
    return {
        "cohort_patients": _weight(config, inbox, job, manifest),
        "runs": dossier.runs(manifest, inbox.policy.jobs.isolation),
        "leaves": dossier.leaves(manifest),
        "becomes": dossier.becomes(manifest.training) if manifest.kind == "training" else "",
        "cost": dossier.cost(
            manifest,
            charging.spent(vendor),
            inbox.policy.jobs.leakage_bits_per_vendor_at_most,
        ),
        "approved_before": before or "nothing of this name and vendor",
        "changes": changed,
        "tried": Tries(config.desk_dir / "tries").of(digest) or "not yet: approvals try JOB",
    }


def _weight(config: GatewayConfig, inbox: _Inbox, job: str, manifest: JobManifest) -> str:
    """Return the cohort's size as the gate gives it: with noise, drawn and paid for once a job."""
    from gateway.desk.rules import JobStage, Refusal

    row = inbox.book.job(job)
    if row is None or row.stage not in (JobStage.WAITING, JobStage.APPROVED):
        return "not counted: nothing is to be decided"
    weight = row.weight
    if weight is None:
        with _cohorts(config) as cohorts:
            found = cohorts.weigh(job, row.vendor, manifest)
        if isinstance(found, Refusal):
            return found.rule
        weight = found
        inbox.book.weigh(job, weight)
    return f"about {weight:.0f}, with noise"


def approve(config: GatewayConfig, job: str, by: str) -> dict[str, Any]:
    with _inbox(config) as inbox:
        inbox.offers.approve(job, by)
        return {"job_id": job, "stage": inbox.offers.approval(job).stage}


def reject(config: GatewayConfig, job: str, by: str, reason: str) -> dict[str, Any]:
    with _inbox(config) as inbox:
        inbox.offers.reject(job, by, reason)
        return {"job_id": job, "stage": inbox.offers.approval(job).stage}


def end_frozen_jobs(config: GatewayConfig, by: str) -> None:
    """Reject each approved job whose cohort is frozen as the store no longer is.

    Under new pseudonyms its patients would be split anew: what trained a model could test it.
    """
    from gateway.desk.homes import home_of
    from gateway.desk.rules import JobStage

    with _inbox(config) as inbox:
        for job in inbox.offers.approvals():
            frozen = home_of(config.desk_dir / "jobs", job.job_id) / "workspace"
            if job.stage == JobStage.APPROVED and frozen.exists():
                inbox.offers.reject(
                    job.job_id, by, "its cohort was frozen before a key was rotated"
                )


def try_job(config: GatewayConfig, job: str, by: str) -> dict[str, Any]:
    """Run a job on a few of the hospital's own cases in the sandbox; nothing of it leaves."""
    from gateway.app.outbound import build_runner
    from gateway.desk import trying
    from gateway.desk.rules import Refusal

    with ExitStack() as stack:
        inbox = stack.enter_context(_inbox(config))
        digest = inbox.offers.approval(job).bundle_digest
        manifest = inbox.offers.manifest(job)
        if manifest is None:
            raise ConfigurationFault(f"{job} cannot be tried: {NOT_FETCHED}")
        if manifest.label in inbox.policy.tests.test_hospital_for:
            # Every patient tests here, of whichever side: a try would be a look that none counts.
            raise Refused(f"{job} cannot be tried: this hospital is for tests of its label")
        if manifest.resources.gpus > inbox.policy.jobs.gpus_at_most:
            raise Refused(f"{job} cannot be tried: jobs.gpus_at_most of the policy gives it no GPU")
        raw = build_objects(config).read(bytes.fromhex(digest))
        runner = build_runner(config)
        if problems := runner.self_test():
            raise EnvironmentFault(f"jobs cannot be confined here: {'; '.join(problems)}")
        config.desk_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = Path(tempfile.mkdtemp(prefix="try-", dir=config.desk_dir))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        cohorts = stack.enter_context(_cohorts(config))
        found = cohorts.selected(manifest)
        if isinstance(found, Refusal):
            raise Refused(f"a round would be refused: {found.rule}")
        few = trying.choose(found, cohorts.split)
        labels = cohorts.labels(manifest)
        tried = trying.attempt(raw, few, labels, cohorts.split, runner, home)
        if isinstance(tried, Refusal):
            raise Refused(f"a round would be refused: {tried.rule}")
        Tries(config.desk_dir / "tries").keep(job, digest, tried)
        inbox.audit.record("job_tried", job=job, by=by, ended=tried.ended)
        return {"job_id": job, **tried.document()}


def job_log(config: GatewayConfig, job: str) -> dict[str, Any]:
    """Return the redacted tail of a job's newest round."""
    from gateway.release.logs import redacted, words_of

    with _inbox(config) as inbox:
        code = inbox.offers.code(job)
    number, log = _newest(config, job)
    return {"job_id": job, "round": number, "log": redacted(log, words_of(code))}


def release_log(config: GatewayConfig, job: str, out: Path, by: str) -> dict[str, Any]:
    """Write the redacted tail to a file that a person hands on: charged, audited, in the ledger."""
    from gateway.app.outbound import build_gate
    from gateway.release.logs import redacted, words_of

    if out.exists():
        raise ConfigurationFault(f"{out} exists already: name another file")
    with _inbox(config) as inbox:
        manifest, code = inbox.offers.manifest(job), inbox.offers.code(job)
        if manifest is None:
            raise ConfigurationFault(f"{job} has no log to read: {NOT_FETCHED}")
        number, log = _newest(config, job)
        words, vendor = words_of(code), inbox.offers.approval(job).vendor
        reference, size = f"{job}/log {number}", len(redacted(log, words))
        policy = build_policy(config)
        if not build_charging(config, policy).log(reference, vendor, manifest, size):
            raise BudgetSpent(vendor)
        text = build_gate(config, policy).hand_over(reference, log, words, by)
        with out.open("x", encoding="ascii") as file:
            file.write(text + "\n")
        inbox.audit.record("log_released", job=job, round=number, by=by, size=size)
    return {"job_id": job, "round": number, "file": str(out), "bytes": size, "bits": 8 * size}


def _newest(config: GatewayConfig, job: str) -> tuple[int, bytes]:
    found = JobLogs(config.desk_dir / "logs").newest(job)
    if found is None:
        raise NothingLogged(job)
    return found


def _text(content: bytes) -> str:
    """Return a file for a reviewer's eyes; what is not text is named by its size."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are not text)"


@contextmanager
def _inbox(config: GatewayConfig) -> Iterator[_Inbox]:
    book, audit = build_book(config), build_audit(config)
    try:
        policy = build_policy(config)
        signers = build_signers(config, book, policy, audit)
        offers = Offers(book, build_objects(config), policy, audit, signers)
        yield _Inbox(offers, book, audit, policy())
    finally:
        audit.close()
        book.close()


@contextmanager
def _cohorts(config: GatewayConfig) -> Iterator["Cohorts"]:
    from gateway.app.outbound import build_answers, build_cohorts
    from gateway.store.index import Index
    from gateway.store.tally import Tally

    index = Index.open(config.index_file)
    try:
        tally = Tally(index)
        answers = build_answers(config, build_policy(config), tally)
        yield build_cohorts(config, index, tally, answers)
    finally:
        index.close()
