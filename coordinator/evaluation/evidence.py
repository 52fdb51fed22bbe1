"""Evidence for a report, gathered from what is stored of a job."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from coordinator.evaluation.document import Evidence, SiteEvidence, SumEvidence
from coordinator.model import JobRecord, JobSiteRecord, TaskRecord
from protos.job_manifest import JobManifest, protocol_digest
from protos.v1.job_pb2 import Decision, JobTerms, TaskOutcome, TaskState

ENDED = frozenset(
    {
        TaskState.TASK_STATE_RELEASED,
        TaskState.TASK_STATE_WITHHELD,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_REFUSED,
    }
)


def gather(
    federation: str,
    record: JobRecord,
    manifest: JobManifest,
    reviews: int,
    decided: Sequence[JobSiteRecord],
    tasks: Sequence[TaskRecord],
    summed: SumEvidence | None = None,
) -> Evidence:
    """Return the evidence; every hospital that was asked is in it, whatever it said."""
    assert manifest.protocol is not None
    looks = {task.site: task for task in tasks}
    part_of = None
    if manifest.is_summed:
        part_of = frozenset() if summed is None else frozenset(summed.masked)
    return Evidence(
        federation=federation,
        job=record.job_id,
        name=record.name,
        project=JobTerms.FromString(record.terms).project,
        purpose=manifest.purpose,
        bundle=record.bundle_digest.hex(),
        weights=record.weights_digest.hex(),
        vendor_key=record.vendor_key.hex(),
        reviews=reviews,
        submitted_at=datetime.fromtimestamp(record.submitted_at, UTC).isoformat(),
        label=manifest.label,
        inclusion=tuple(f"{c.field} {c.operator} {', '.join(c.values)}" for c in manifest.cohort),
        protocol=manifest.protocol,
        protocol_sha256=protocol_digest(manifest).hex(),
        sites=tuple(
            _site(part, looks, protocol_digest(manifest), part_of)
            for part in sorted(decided, key=lambda part: part.site)
        ),
        is_summed=manifest.is_summed,
        sum=summed,
    )


def _site(
    part: JobSiteRecord,
    looks: Mapping[str, TaskRecord],
    protocol: bytes,
    part_of: frozenset[str] | None,
) -> SiteEvidence:
    """Return one hospital's part; of a secure sum, `part_of` names who is in it."""
    decision = Decision.Name(part.decision) if part.decision else "DECISION_NONE"  # type: ignore[arg-type]  # the enum's number
    task = looks.get(part.site)
    outcome = TaskOutcome.FromString(task.outcome) if task is not None else TaskOutcome()
    state, code = "", part.rule
    if task is not None:
        state, code = _ended(outcome)
    if state == "released" and part_of is not None and part.site not in part_of:
        state, code = "failed", "sum_unfinished"
    summed = part_of is not None
    usable = state == "released" and _is_of(outcome, protocol, summed=summed)
    if state == "released" and not usable:
        state, code = "failed", "other_protocol"
    return SiteEvidence(
        site=part.site,
        decision=decision.removeprefix("DECISION_").lower(),
        state=state,
        code=code,
        task="" if task is None else task.task_id,
        statistics=b64encode(outcome.statistics).decode() if usable else "",
        public_key=outcome.statistics_key.hex() if usable else "",
        signature=outcome.statistics_signature.hex() if usable else "",
        leakage_bits=outcome.leakage_bits,
    )


def _ended(outcome: TaskOutcome) -> tuple[str, str]:
    if outcome.state not in ENDED:
        return "failed", "no_report"  # by the deadline
    return TaskState.Name(outcome.state).removeprefix("TASK_STATE_").lower(), outcome.code


def _is_of(outcome: TaskOutcome, protocol: bytes, *, summed: bool) -> bool:
    from protos.v1.job_pb2 import EvaluationStatistics

    said = EvaluationStatistics.FromString(outcome.statistics)
    if summed != said.HasField("summed"):
        return False
    some = said.cells or said.detections or said.overlaps or summed
    return said.protocol_digest == protocol and bool(some)
