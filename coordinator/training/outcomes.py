"""What a hospital's report on a round can be; everything a peer sends is checked here."""

import math

from coordinator.training.statistics import are_sound
from protos.scores import BINS, LOGIT_EDGES
from protos.transcripts import bears_its_signature
from protos.v1.job_pb2 import ScoreHistogram, TaskOutcome, TaskState

CODE_LENGTH = 64
METRICS_AT_MOST = 32
WEIGHT_AT_MOST = 1e9
CASES_AT_MOST = 1 << 40
DIGEST_BYTES = 32
UPDATE = "malformed_update"
REPORT = "malformed_report"


def is_sound(outcome: TaskOutcome) -> bool:
    """Say whether an honest gateway could have sent this."""
    return (
        outcome.state in TaskState.values()
        and outcome.state != TaskState.TASK_STATE_UNSPECIFIED
        and len(outcome.code) <= CODE_LENGTH
        and outcome.code.isprintable()
        and math.isfinite(outcome.weight)
        and 0 <= outcome.weight <= WEIGHT_AT_MOST
        and not math.isnan(outcome.leakage_bits)
        and len(outcome.update_digest) in {0, DIGEST_BYTES}
        and len(outcome.metrics) <= METRICS_AT_MOST
        and all(math.isfinite(metric.value) for metric in outcome.metrics)
        and (not outcome.HasField("validation") or _is_histogram(outcome.validation))
        and are_sound(outcome)
        and bears_its_signature(outcome)
    )


def brings_update(outcome: TaskOutcome) -> bool:
    return outcome.state == TaskState.TASK_STATE_RELEASED and bool(outcome.update_digest)


def malformed(task_id: str, code: str) -> TaskOutcome:
    """Return what is kept of a report, or of an update, that cannot be: a typed failure."""
    return TaskOutcome(task_id=task_id, state=TaskState.TASK_STATE_FAILED, code=code)


def _is_histogram(histogram: ScoreHistogram) -> bool:
    """Demand the protocol's bins and no others, so that hospitals' counts can be added."""
    return (
        len(histogram.positives) == len(histogram.negatives) == BINS
        and (not histogram.edges or tuple(histogram.edges) == LOGIT_EDGES)
        and sum(histogram.positives) + sum(histogram.negatives) < CASES_AT_MOST
    )
