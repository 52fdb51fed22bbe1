"""The desk's lifecycles and its verdict on an offer."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import log

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.evaluate.metrics import MetricsCode
from gateway.evaluate.statistics import StatisticsCode
from gateway.policy import Jobs, SecureSums
from gateway.release.rules import Rule
from gateway.release.tensors import TensorCode
from gateway.sandbox.rules import FailureCode
from protos.job_manifest import JobManifest
from protos.signatures import Distrust
from protos.v1 import job_pb2


class QuestionStage(StrEnum):
    TAKEN = "taken"
    ANSWERED = "answered"
    EXPIRED = "expired"


class JobStage(StrEnum):
    OFFERED = "offered"  # its bundle is still to be fetched and verified
    WAITING = "waiting"  # in the steward's inbox
    APPROVED = "approved"
    REJECTED = "rejected"  # by the steward
    REFUSED = "refused"  # by a rule
    WITHDRAWN = "withdrawn"  # by the coordinator: final


class TaskStage(StrEnum):
    TAKEN = "taken"
    RUNNING = "running"  # found after a restart: it runs again
    SUMMING = "summing"  # its summand is kept, and goes out under a mask when the others agree
    RELEASED = "released"
    WITHHELD = "withheld"
    FAILED = "failed"
    REFUSED = "refused"


NEXT: dict[JobStage, frozenset[JobStage]] = {
    JobStage.OFFERED: frozenset(
        {JobStage.WAITING, JobStage.APPROVED, JobStage.REFUSED, JobStage.WITHDRAWN}
    ),
    JobStage.WAITING: frozenset({JobStage.APPROVED, JobStage.REJECTED, JobStage.WITHDRAWN}),
    JobStage.APPROVED: frozenset({JobStage.WITHDRAWN, JobStage.REJECTED}),  # a steward may repent
    JobStage.REJECTED: frozenset({JobStage.WITHDRAWN}),
    JobStage.REFUSED: frozenset({JobStage.WITHDRAWN}),
    JobStage.WITHDRAWN: frozenset(),
}
NEXT_TASK: dict[TaskStage, frozenset[TaskStage]] = {
    TaskStage.TAKEN: frozenset({TaskStage.RUNNING, TaskStage.REFUSED, TaskStage.FAILED}),
    TaskStage.RUNNING: frozenset(
        {
            TaskStage.RUNNING,
            TaskStage.SUMMING,
            TaskStage.RELEASED,
            TaskStage.WITHHELD,
            TaskStage.FAILED,
            TaskStage.REFUSED,
        }
    ),
    TaskStage.SUMMING: frozenset({TaskStage.RELEASED, TaskStage.REFUSED}),
    TaskStage.RELEASED: frozenset(),
    TaskStage.WITHHELD: frozenset(),
    TaskStage.FAILED: frozenset(),
    TaskStage.REFUSED: frozenset(),
}
OPEN_TASKS = (TaskStage.TAKEN, TaskStage.RUNNING)
KINDS = {
    job_pb2.JOB_KIND_TRAINING: "training",
    job_pb2.JOB_KIND_EVALUATION: "evaluation",
    job_pb2.JOB_KIND_ANALYTICS: "analytics",
}
# Every word that may say how a round ended: a closed set, and charged as one.
OUTCOME_CODES: frozenset[str] = frozenset().union(
    FailureCode, TensorCode, StatisticsCode, MetricsCode, Rule, Distrust
)


SUBJECT_LENGTH = 64  # the treaty's limit for a code


def with_subject(code: str, subject: str) -> str:
    """Add a name from the reviewed manifest to a code, where both have room."""
    said = f"{code}:{subject}"
    return said if subject and len(said) <= SUBJECT_LENGTH else code


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule of the hospital's says no; `rule` is the closed word that may leave."""

    rule: str


def moment(stamp: Timestamp) -> datetime | None:
    """Return the time a coordinator named; None where there is no such time.

    Work with such a time must not be taken: whoever reads it would fail at it again and again.
    """
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None


def judge_offer(offer: job_pb2.JobOffer, jobs: Jobs) -> Refusal | None:
    """Judge what can be judged before the bundle is fetched."""
    if not jobs.enabled:
        return Refusal("jobs_disabled")
    if jobs.vendor_of(offer.vendor_key) is None:
        return Refusal("unknown_vendor")
    if offer.bundle_size > jobs.bundle_bytes_at_most:
        return Refusal("bundle_too_large")
    if offer.rounds > jobs.max_rounds:
        return Refusal("too_many_rounds")
    return None


def judge_manifest(manifest: JobManifest, offer: job_pb2.JobOffer, jobs: Jobs) -> Refusal | None:
    """Judge what the bundle itself asks for; what was offered must be what was signed."""
    if manifest.kind != KINDS.get(offer.kind) or offer.rounds > manifest.rounds:
        return Refusal("manifest_differs")
    if manifest.rounds > jobs.max_rounds:
        return Refusal("too_many_rounds")
    if sum(spec.size_bytes for spec in manifest.weights.values()) > jobs.weights_bytes_at_most:
        return Refusal("weights_too_large")
    asks = manifest.resources
    if asks.memory_mb > jobs.memory_mb_at_most or asks.wall_seconds > jobs.wall_seconds_at_most:
        return Refusal("resources")
    if asks.gpus > jobs.gpus_at_most:
        return Refusal("gpu_refused")
    return _judge_sum(manifest, jobs.sums) or _judge_noise(manifest, jobs)


def _judge_sum(manifest: JobManifest, sums: SecureSums) -> Refusal | None:
    if not manifest.is_summed:
        demanded = sums.demanded if manifest.sends_tensors else sums.demanded_of_tests
        return Refusal("secure_sum_only") if demanded else None
    known = len(sums.hospitals) + 1  # and this one
    return Refusal("roster_unpinned") if known < sums.roster_at_least else None


def _judge_noise(manifest: JobManifest, jobs: Jobs) -> Refusal | None:
    if not manifest.sends_tensors or (manifest.sigma == 0 and jobs.allow_no_noise):
        return None
    if manifest.sigma < jobs.sigma_over_clip_at_least * manifest.clip:
        return Refusal("too_little_noise")
    if update_bits(manifest) * manifest.rounds > jobs.leakage_bits_per_job_at_most:
        return Refusal("leakage_budget")
    return None


def update_bits(manifest: JobManifest) -> float:
    """Bound what one update can carry: C^2 / (2 sigma^2 ln 2); negative for "no bound"."""
    if not manifest.sends_tensors:
        return 0.0
    if manifest.sigma == 0:
        return -1.0
    return manifest.clip**2 / (2 * manifest.sigma**2 * log(2))


def standing_approval(manifest: JobManifest, offer: job_pb2.JobOffer, jobs: Jobs) -> str | None:
    """Return the standing rule that approves, by its place in the policy, or None."""
    vendor = jobs.vendor_of(offer.vendor_key)
    bits = update_bits(manifest) * manifest.rounds
    for number, rule in enumerate(jobs.standing, 1):
        holds = (
            vendor is not None
            and rule.vendor == vendor.name
            and rule.bundle in (None, offer.bundle_digest.hex())
            and rule.kind in (None, manifest.kind)
            and manifest.rounds <= rule.max_rounds
            and 0 <= bits <= rule.max_leakage_bits
        )
        if holds:
            return f"standing rule {number}"
    return None
