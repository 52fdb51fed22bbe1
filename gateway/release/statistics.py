"""The output gate for a test's statistics: closed words, whole cells of ten and ten, no more."""

import re
from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError

from gateway.release.rules import MIN_CASES, WORDS, Withheld, histogram_bits
from protos.evaluation import MODEL, Subgroup
from protos.reports import is_signed, statistics_statement
from protos.scores import BINS, JOINT_BINS
from protos.v1 import job_pb2

LARGEST_BYTES = 48 << 10  # of a control message's 64 KiB
READERS = range(2, 6)  # one agrees with nobody; the patterns of six would be words too long
FEWEST_READ = 20
MODEL_BIN = re.compile(r"model [1-9][0-9]?")
FIELDS_KNOWN = frozenset(map(str, Subgroup))


def check_statistics(outcome: job_pb2.TaskOutcome) -> Withheld | None:
    """Allow only what the protocol's form can say; the gateway's own room may be wrong, too."""
    raw = outcome.statistics
    if not raw:
        bare = not outcome.statistics_key and not outcome.statistics_signature
        return None if bare else Withheld("statistics")
    said = parsed(raw)
    if said is None or len(raw) > LARGEST_BYTES:
        return Withheld("statistics")
    statement = statistics_statement(outcome.task_id, raw)
    sound = (
        is_signed(outcome.statistics_key, outcome.statistics_signature, statement)
        and bool(said.cells)
        and (said.cells[0].field, said.cells[0].bin) == ("", "")
        and all(_is_cell(cell) for cell in said.cells)
        and _hides_remainders(said)
        and _is_comparison(said)
        and _is_reading(said)
    )
    return None if sound else Withheld("statistics")


def parsed(raw: bytes) -> job_pb2.EvaluationStatistics | None:
    """Return a message that has one spelling: nothing can hide in another."""
    try:
        said = job_pb2.EvaluationStatistics.FromString(raw)
    except DecodeError:
        return None
    said.DiscardUnknownFields()
    return said if said.SerializeToString(deterministic=True) == raw else None


def statistics_bits(said: job_pb2.EvaluationStatistics) -> float:
    """Bound what a vendor can have written by choosing scores: every cell is a word."""
    bits = sum(
        histogram_bits(sum(counts), len(counts))
        for cell in said.cells
        for counts in (cell.positives, cell.negatives)
    )
    joint = said.comparison
    bits += sum(
        histogram_bits(sum(counts), JOINT_BINS**2)
        for counts in (joint.positive_counts, joint.negative_counts)
    )
    whole = said.cells[0] if said.cells else job_pb2.EvaluationCell()
    tested = sum(whole.positives) + sum(whole.negatives)
    # Which patients a product declines is its own choice: four more bins for all of them.
    failed = said.unscored
    declined = (
        failed.missing_positives + failed.missing_negatives
        + failed.unusable_positives + failed.unusable_negatives
    )  # fmt: skip
    return bits + histogram_bits(tested + declined, 5)


def _is_cell(cell: job_pb2.EvaluationCell) -> bool:
    positives, negatives = sum(cell.positives), sum(cell.negatives)
    named = (
        (cell.field, cell.bin) == ("", "")
        or (cell.field in FIELDS_KNOWN and cell.bin in WORDS)
        or (cell.field == MODEL and MODEL_BIN.fullmatch(cell.bin) is not None)
    )
    return (
        named
        and len(cell.positives) == len(cell.negatives) == BINS
        and min(positives, negatives) >= MIN_CASES
        and cell.true_positives <= positives
        and cell.false_positives <= negatives
    )


def _hides_remainders(said: job_pb2.EvaluationStatistics) -> bool:
    """Demand that what a field leaves out is nobody, or ten and ten themselves."""
    names = [(cell.field, cell.bin) for cell in said.cells]
    if len(set(names)) < len(names):
        return False
    whole, rest = said.cells[0], said.cells[1:]
    for field in {cell.field for cell in rest}:
        within = [cell for cell in rest if cell.field == field]
        left = [
            _total(getattr(whole, side)) - sum(_total(getattr(cell, side)) for cell in within)
            for side in ("positives", "negatives")
        ]
        if any(left) and min(left) < MIN_CASES:
            return False
    return True


def _is_comparison(said: job_pb2.EvaluationStatistics) -> bool:
    if not said.HasField("comparison"):
        return True
    joint = said.comparison
    sides = (
        (joint.positive_cells, joint.positive_counts),
        (joint.negative_cells, joint.negative_counts),
    )
    return all(
        len(cells) == len(counts)
        and list(cells) == sorted(set(cells))
        and all(cell < JOINT_BINS**2 for cell in cells)
        and sum(counts) >= MIN_CASES
        for cells, counts in sides
    )


def _is_reading(said: job_pb2.EvaluationStatistics) -> bool:
    if not said.HasField("readers"):
        return True
    readers, counts = said.readers.readers, said.readers.counts
    return readers in READERS and len(counts) == 2**readers and sum(counts) >= FEWEST_READ


def _total(counts: Iterable[int] | Sequence[int]) -> int:
    return sum(counts)
