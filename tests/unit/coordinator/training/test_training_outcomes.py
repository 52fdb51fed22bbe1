import pytest

from coordinator.training.outcomes import is_sound
from protos.scores import BINS, LOGIT_EDGES
from protos.v1.job_pb2 import Metric, ScoreHistogram, TaskOutcome, TaskState

RELEASED = TaskState.TASK_STATE_RELEASED
BINNED = ScoreHistogram(edges=LOGIT_EDGES, positives=[1] * BINS, negatives=[2] * BINS)


def test_an_honest_report_passes():
    assert is_sound(TaskOutcome(state=RELEASED, weight=12, validation=BINNED, leakage_bits=-1))


@pytest.mark.parametrize(
    "outcome",
    [
        TaskOutcome(),
        TaskOutcome(state=99),
        TaskOutcome(state=RELEASED, weight=float("inf")),
        TaskOutcome(state=RELEASED, weight=-1),
        TaskOutcome(state=RELEASED, weight=1e12),
        TaskOutcome(state=RELEASED, leakage_bits=float("nan")),
        TaskOutcome(state=RELEASED, update_digest=b"short"),
        TaskOutcome(state=RELEASED, code="x" * 65),
        TaskOutcome(state=RELEASED, code="line\nbreak"),
        TaskOutcome(state=RELEASED, metrics=[Metric(name="m", value=float("nan"))]),
        TaskOutcome(state=RELEASED, metrics=[Metric(name="m")] * 33),
        TaskOutcome(state=RELEASED, validation=ScoreHistogram(positives=[1], negatives=[1])),
        TaskOutcome(
            state=RELEASED,
            validation=ScoreHistogram(
                edges=[edge + 1 for edge in LOGIT_EDGES],
                positives=[1] * BINS,
                negatives=[1] * BINS,
            ),
        ),
    ],
)
def test_a_report_no_honest_gateway_sends_is_told(outcome):
    assert not is_sound(outcome)
