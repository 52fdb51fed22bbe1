import pytest

from coordinator.training.outcomes import is_sound
from protos.reports import statistics_statement
from protos.scores import BINS, LOGIT_EDGES
from protos.v1.job_pb2 import (
    EvaluationStatistics,
    Metric,
    ScoreHistogram,
    TaskOutcome,
    TaskState,
)
from tests.fakes.tested import patients, signature_of, statistics

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


def a_look(change=lambda _said: None, *, task="t", garbage=b""):
    said = statistics(*patients(1, 120))
    change(said)
    raw = said.SerializeToString(deterministic=True) + garbage
    key = signature_of("a")
    return TaskOutcome(
        task_id="t",
        state=RELEASED,
        statistics=raw,
        statistics_key=key.public_key().public_bytes_raw(),
        statistics_signature=key.sign(statistics_statement(task, raw)),
    )


def test_an_honest_look_passes():
    assert is_sound(a_look())


def comparison(said: EvaluationStatistics):
    said.comparison.positive_cells.append(2500)
    said.comparison.positive_counts.append(12)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.cells[1].positives.pop(),
        lambda said: setattr(said.cells[0], "field", "PatientSex"),
        lambda said: setattr(said.cells[0], "true_positives", 10**6),
        lambda said: setattr(said.cells[1], "bin", "x" * 65),
        lambda said: setattr(said.cells[1], "bin", "line\nbreak"),
        lambda said: said.cells[1].negatives.__setitem__(0, 1 << 60),
        lambda said: said.cells[1].negatives.__setitem__(slice(None), [0] * BINS),
        lambda said: said.ClearField("cells"),
        lambda said: said.readers.counts.append(30),
        comparison,
    ],
)
def test_statistics_that_no_report_could_be_made_of_are_told(change):
    assert not is_sound(a_look(change))


def test_statistics_of_another_task_or_no_message_at_all_are_told():
    assert not is_sound(a_look(task="another"))
    assert not is_sound(a_look(garbage=b"\xff\xff\xff"))
