"""Whether a hospital's statistics can be those of an honest gateway: checked before they count."""

from google.protobuf.message import DecodeError

from protos.reports import is_signed, statistics_statement
from protos.scores import BINS, JOINT_BINS
from protos.v1.job_pb2 import EvaluationCell, EvaluationStatistics, TaskOutcome

LARGEST_BYTES = 64 << 10
CASES_AT_MOST = 1 << 40
WORD_LENGTH = 64
READERS = range(2, 6)


def are_sound(outcome: TaskOutcome) -> bool:
    """Say whether statistics are signed and of the form a report is made of; none are, too."""
    if not outcome.statistics:
        return True
    try:
        said = EvaluationStatistics.FromString(outcome.statistics)
    except DecodeError:
        return False
    statement = statistics_statement(outcome.task_id, outcome.statistics)
    return (
        len(outcome.statistics) <= LARGEST_BYTES
        and is_signed(outcome.statistics_key, outcome.statistics_signature, statement)
        and bool(said.cells)
        and not said.cells[0].field
        and all(map(_is_cell, said.cells))
        and _is_comparison(said)
        and _is_reading(said)
    )


def _is_cell(cell: EvaluationCell) -> bool:
    positives, negatives = sum(cell.positives), sum(cell.negatives)
    return (
        len(cell.positives) == len(cell.negatives) == BINS
        and 0 < positives < CASES_AT_MOST
        and 0 < negatives < CASES_AT_MOST
        and cell.true_positives <= positives
        and cell.false_positives <= negatives
        and max(len(cell.field), len(cell.bin)) <= WORD_LENGTH
        and (cell.field + cell.bin).isprintable()
    )


def _is_comparison(said: EvaluationStatistics) -> bool:
    if not said.HasField("comparison"):
        return True
    joint = said.comparison
    sides = (
        (joint.positive_cells, joint.positive_counts),
        (joint.negative_cells, joint.negative_counts),
    )
    return all(
        len(cells) == len(counts)
        and all(cell < JOINT_BINS**2 for cell in cells)
        and sum(counts) < CASES_AT_MOST
        for cells, counts in sides
    )


def _is_reading(said: EvaluationStatistics) -> bool:
    if not said.HasField("readers"):
        return True
    readers, counts = said.readers.readers, said.readers.counts
    return readers in READERS and len(counts) == 2**readers and sum(counts) < CASES_AT_MOST
