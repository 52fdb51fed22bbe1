"""What a finished run says: its statistics, its metrics and its update, each as the rules allow."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.desk.rules import OUTCOME_CODES
from gateway.evaluate.metrics import MetricsCode, read_metrics
from gateway.evaluate.statistics import (
    NoStatistics,
    StatisticsCode,
    read_predictions,
    score_histogram,
)
from gateway.release.rules import Withheld, outcome_bits
from gateway.release.updates import ReleasedUpdate
from gateway.sandbox.workspace import Workspace
from protos.evaluation import Predictions
from protos.job_manifest import JobManifest
from protos.scores import BINS
from protos.tensors import Buffer
from protos.v1 import job_pb2

WEIGHTS, PREDICTIONS, METRICS = "weights.safetensors", "predictions.csv", "metrics.json"
PREDICTED = {
    Predictions.SCORES: PREDICTIONS,
    Predictions.BOXES: "boxes.csv",
    Predictions.MASKS: "masks.bin",
}


class UpdateGate(Protocol):
    def update(
        self, task_id: str, new: Buffer | None, old: Buffer, manifest: JobManifest
    ) -> ReleasedUpdate | Withheld: ...

    def summand(
        self,
        task_id: str,
        new: Buffer | None,
        old: Buffer,
        manifest: JobManifest,
        cells: Sequence[int],
        *,
        trains: bool,
    ) -> ReleasedUpdate | Withheld: ...

    def statistics(
        self, outcome: job_pb2.TaskOutcome, manifest: JobManifest
    ) -> ReleasedUpdate | Withheld: ...


def compose(
    task: job_pb2.RoundTask,
    outputs: Mapping[str, Buffer],
    manifest: JobManifest,
    workspace: Workspace,
    weight: float,
    old_weights: Buffer,
    gate: UpdateGate,
) -> job_pb2.TaskOutcome | Withheld:
    """Turn a run's outputs into what may leave, or one closed word.

    The update comes last: once the gate has released it, nothing can hold the outcome back.
    """
    trains = manifest.sends_tensors and not task.evaluate_only
    tests = manifest.kind != "analytics"
    outcome = job_pb2.TaskOutcome(
        task_id=task.task_id, state=job_pb2.TASK_STATE_RELEASED, weight=weight
    )
    predictions = outputs.get(PREDICTIONS) if tests else None
    kept = _add_statistics(outcome, predictions, workspace, needed=tests and not trains)
    if kept is None and trains:
        kept = _add_metrics(outcome, outputs.get(METRICS), manifest, workspace)
    if kept is not None:
        return kept
    declared = {spec.name: spec for spec in manifest.metrics} if trains else {}
    outcome.leakage_bits = outcome_bits(outcome, declared, len(OUTCOME_CODES))
    summed = manifest.is_summed and (trains or tests)
    if trains or summed:
        new, cells = outputs.get(WEIGHTS), _cells(outcome) if tests else ()
        update = (
            gate.summand(task.task_id, new, old_weights, manifest, cells, trains=trains)
            if summed
            else gate.update(task.task_id, new, old_weights, manifest)
        )
        if isinstance(update, Withheld):
            return update
        outcome.update_digest = bytes.fromhex(update.digest)
        outcome.update_size = update.size
        bounded = update.leakage_bits >= 0
        outcome.leakage_bits = outcome.leakage_bits + update.leakage_bits if bounded else -1.0
    return outcome


def hide(
    outcome: job_pb2.TaskOutcome, manifest: JobManifest, gate: UpdateGate
) -> job_pb2.TaskOutcome | Withheld:
    """Leave of a look's statistics what is no count; the counts go under the mask."""
    kept = gate.statistics(outcome, manifest)
    if isinstance(kept, Withheld):
        return kept
    said = job_pb2.EvaluationStatistics.FromString(outcome.statistics)
    bare = job_pb2.EvaluationStatistics(
        protocol_digest=said.protocol_digest, look=said.look, looks_left=said.looks_left
    )
    outcome.statistics = bare.SerializeToString(deterministic=True)
    for name in ("statistics_key", "statistics_signature", "validation"):
        outcome.ClearField(name)  # signed when it is known what lies under which masks
    outcome.update_digest, outcome.update_size = bytes.fromhex(kept.digest), kept.size
    return outcome


def _cells(outcome: job_pb2.TaskOutcome) -> Sequence[int]:
    """Return the counts that go into a sum; where there are too few cases, nobody is counted."""
    if not outcome.HasField("validation"):
        return [0] * (2 * BINS)
    return [*outcome.validation.positives, *outcome.validation.negatives]


def _add_statistics(
    outcome: job_pb2.TaskOutcome, raw: Buffer | None, workspace: Workspace, *, needed: bool
) -> Withheld | None:
    """Add the histogram of held-out cases; a training round may go without one."""
    if raw is None:
        return Withheld(StatisticsCode.MISSING) if needed else None
    scores = read_predictions(raw, workspace.truth)
    if isinstance(scores, NoStatistics):
        return Withheld(scores.code)
    histogram = score_histogram(scores, workspace.truth)
    if isinstance(histogram, NoStatistics):
        return Withheld(histogram.code) if needed else None
    outcome.validation.edges.extend(histogram.edges)
    outcome.validation.positives.extend(histogram.positives)
    outcome.validation.negatives.extend(histogram.negatives)
    return None


def _add_metrics(
    outcome: job_pb2.TaskOutcome, raw: Buffer | None, manifest: JobManifest, workspace: Workspace
) -> Withheld | None:
    found = read_metrics(raw or b"{}", manifest.metrics, workspace.training_patients)
    if found is MetricsCode.TOO_FEW_PATIENTS:
        return None
    if isinstance(found, MetricsCode):
        return Withheld(found)
    outcome.metrics.extend(job_pb2.Metric(name=name, value=value) for name, value in found)
    return None
