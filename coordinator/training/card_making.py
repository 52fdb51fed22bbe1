"""Making a model's card of what is stored of its job; what can be added up again is, from parts."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from coordinator.model import JobRecord, JobSiteRecord, Pooled, RoundRecord, TaskRecord
from coordinator.store.rounds import ENDED
from coordinator.training.card import Card, HospitalOfCard, Part, Result, RoundOfCard
from coordinator.training.rules import chosen_round
from protos.job_manifest import JobManifest
from protos.training import TrainingPlan, plan_of
from protos.update_price import NO_BOUND, epsilon, rho_per_patient
from protos.v1.job_pb2 import Decision, JobTerms, RoundTranscript, TaskOutcome, TaskState

LATE, SILENT = "late", "no_report"
OPTIMISTIC = (
    "the AUC is of held-out patients who also chose the model: test it on a locked set before use"
)
MEASURED = "the AUC is of held-out patients of the hospitals that trained it"
SUMMED = "updates were added up under masks: nobody can make the rounds again of them"
UNBOUNDED = "no leakage bound: the updates left the hospitals without noise"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is stored of one training job."""

    federation: str
    record: JobRecord
    manifest: JobManifest
    reviews: int
    decided: Sequence[JobSiteRecord]
    rounds: Sequence[RoundRecord]
    tasks: Sequence[TaskRecord]
    figures: Sequence[Pooled]
    transcripts: Sequence[RoundTranscript]


def make_card(evidence: Evidence, result_bytes: int) -> Card:
    record, manifest = evidence.record, evidence.manifest
    plan = plan_of(record.plan)
    rounds = tuple(_round(each, evidence) for each in evidence.rounds)
    decided = [(part.site, part.decision, part.rule) for part in evidence.decided]
    noise = manifest.clip, manifest.sigma
    return Card(
        federation=evidence.federation,
        job=record.job_id,
        name=record.name,
        project=JobTerms.FromString(record.terms).project,
        purpose=manifest.purpose,
        stage=record.stage,
        reason=record.reason,
        bundle=record.bundle_digest.hex(),
        vendor_key=record.vendor_key.hex(),
        reviews=evidence.reviews,
        submitted_at=datetime.fromtimestamp(record.submitted_at, UTC).isoformat(),
        label=manifest.label,
        cohort=tuple(f"{c.field} {c.operator} {', '.join(c.values)}" for c in manifest.cohort),
        plan=plan,
        is_summed=manifest.is_summed,
        quorum=record.quorum,
        rounds_planned=record.rounds,
        clip=manifest.clip,
        sigma=manifest.sigma,
        rounds=rounds,
        hospitals=tuple(
            hospital_of(site, _decision(decision), rule, rounds, noise)
            for site, decision, rule in sorted(decided)
        ),
        result=result_of(plan, rounds, result_bytes),
        remarks=remarks(plan, manifest.sigma, is_summed=manifest.is_summed),
    )


def hospital_of(
    site: str,
    decision: str,
    rule: str,
    rounds: Sequence[RoundOfCard],
    noise: tuple[float, float],
) -> HospitalOfCard:
    """Add up what one hospital gave; an update is paid for whether or not it is in a sum."""
    parts = [part for each in rounds for part in each.parts if part.site == site]
    updates = [part for part in parts if part.update]
    bits = [part.leakage_bits for part in parts if part.state in {"released", LATE}]
    rho = len(updates) * rho_per_patient(*noise) if updates else 0.0
    return HospitalOfCard(
        site=site,
        decision=decision,
        rule=rule,
        patients=next((part.weight for part in reversed(parts) if part.weight), 0.0),
        updates_in_sum=sum(part.in_sum and bool(part.update) for part in parts),
        ends=dict(Counter(_end(part) for part in parts)),
        leakage_bits=NO_BOUND if any(each < 0 for each in bits) else sum(bits),
        rho=rho,
        epsilon=epsilon(rho),
    )


def result_of(plan: TrainingPlan, rounds: Sequence[RoundOfCard], size: int) -> Result:
    figures = [Pooled(r.number, r.auc, r.auc_low, r.auc_high) for r in rounds]
    number = chosen_round(plan, figures, rounds[-1].number)
    its = next(each for each in rounds if each.number == number)
    return Result(
        round=number,
        weights=its.weights,
        bytes=size,
        chosen=plan.keep,
        auc=its.auc,
        auc_low=its.auc_low,
        auc_high=its.auc_high,
    )


def remarks(plan: TrainingPlan, sigma: float, *, is_summed: bool) -> tuple[str, ...]:
    said = [OPTIMISTIC if plan.keep == "best" else MEASURED]
    if is_summed:
        said.append(SUMMED)
    if sigma <= 0:
        said.append(UNBOUNDED)
    return tuple(said)


def _round(record: RoundRecord, evidence: Evidence) -> RoundOfCard:
    figures = {figure.round: figure for figure in evidence.figures}
    figure = figures.get(record.number, Pooled(record.number, None, None, None))
    told = next((t for t in evidence.transcripts if t.round == record.number), None)
    body = b"" if told is None else told.SerializeToString(deterministic=True)
    return RoundOfCard(
        number=record.number,
        weights=record.weights_digest.hex(),
        only_measured=record.evaluate_only,
        auc=figure.auc,
        auc_low=figure.low,
        auc_high=figure.high,
        parts=tuple(_part(task, record) for task in evidence.tasks if task.round == record.number),
        transcript=b64encode(body).decode(),
    )


def _part(task: TaskRecord, record: RoundRecord) -> Part:
    said = TaskOutcome.FromString(task.outcome)
    return Part(
        site=task.site,
        task=task.task_id,
        state=state_of(task, record),
        code=said.code,
        in_sum=task.accepted,
        update=said.update_digest.hex(),
        weight=said.weight,
        public_key=said.update_key.hex(),
        signature=said.update_signature.hex(),
        leakage_bits=said.leakage_bits,
    )


def state_of(task: TaskRecord, record: RoundRecord) -> str:
    """Say how a part ended; `late` and `no_report` are what a round that went on makes of one."""
    if record.closed_at is not None and task.state not in ENDED:
        return SILENT
    if record.closed_at is not None and task.state == TaskState.TASK_STATE_RELEASED:
        return "released" if task.accepted else LATE
    return TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()  # type: ignore[arg-type]  # the enum's number


def _end(part: Part) -> str:
    return f"{part.state}:{part.code}" if part.code else part.state


def _decision(decision: int) -> str:
    return Decision.Name(decision).removeprefix("DECISION_").lower() if decision else "none"  # type: ignore[arg-type]  # the enum's number
