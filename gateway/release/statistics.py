"""The output gate for a test's statistics: closed words, whole cells of ten and ten, no more."""

import re
from collections import Counter

from google.protobuf.message import DecodeError

from gateway.release.paired import comparison_bits, is_comparison
from gateway.release.places import FEWEST_READ, READERS, are_places, is_enough, places_bits
from gateway.release.rules import DIGEST_BYTES, MIN_CASES, WORDS, Withheld, histogram_bits
from protos.evaluation import MODEL, Subgroup
from protos.reports import is_signed, statistics_statement
from protos.scores import BINS
from protos.v1 import job_pb2

LARGEST_BYTES = 48 << 10  # of a control message's 64 KiB
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
    if said.HasField("summed"):
        signed = is_signed(outcome.statistics_key, outcome.statistics_signature, statement)
        masked = outcome.update_digest == said.summed.masked_digest
        return None if signed and masked and _is_of_a_sum(said) else Withheld("statistics")
    sound = (
        is_signed(outcome.statistics_key, outcome.statistics_signature, statement)
        and _is_of_one_kind(said)
        and all(_is_cell(cell) for cell in said.cells)
        and are_places(said)
        and _hides_remainders(said)
        and is_comparison(said)
        and _is_reading(said)
    )
    return None if sound else Withheld("statistics")


def _is_of_a_sum(said: job_pb2.EvaluationStatistics) -> bool:
    """Demand digests and a key alone: every count is under the mask."""
    bare = job_pb2.EvaluationStatistics(
        protocol_digest=said.protocol_digest,
        look=said.look,
        looks_left=said.looks_left,
        summed=said.summed,
    )
    part = said.summed
    fixed = (said.protocol_digest, part.roster_digest, part.masked_digest, part.sum_key)
    return bare == said and all(len(each) == DIGEST_BYTES for each in fixed)


def _is_of_one_kind(said: job_pb2.EvaluationStatistics) -> bool:
    """Demand scores, boxes or masks, the whole first, every cell with a closed name."""
    kinds = [kind for kind in (said.cells, said.detections, said.overlaps) if kind]
    return (
        len(kinds) == 1
        and (kinds[0][0].field, kinds[0][0].bin) == ("", "")
        and all(_is_named(cell.field, cell.bin) for cell in kinds[0])
    )


def _is_named(field: str, bin_: str) -> bool:
    return (
        (field, bin_) == ("", "")
        or (field in FIELDS_KNOWN and bin_ in WORDS)
        or (field == MODEL and MODEL_BIN.fullmatch(bin_) is not None)
    )


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
        histogram_bits(sum(counts), len(counts) + 1)  # the threshold cuts one bin in two
        for cell in said.cells
        for counts in (cell.positives, cell.negatives)
    )
    bits += comparison_bits(said.comparison)
    tested = sum(_sizes(said)[0][2:]) if _sizes(said) else 0
    # Which patients a product declines is its own choice: more bins for all of them.
    failed = said.unscored
    bins = len(failed.DESCRIPTOR.fields) + 1
    declined = sum(getattr(failed, each.name) for each in failed.DESCRIPTOR.fields)
    bits += histogram_bits(tested + declined, bins) + _declined_bits(said, declined)
    return bits + places_bits(said)


def _declined_bits(said: job_pb2.EvaluationStatistics, declined: int) -> float:
    """Bound what the sizes of a field's cells tell of whom a product declined."""
    shown = Counter(field for field, *_ in _sizes(said) if field)
    sides = [2 * (cells + said.cells_withheld + 1) for cells in shown.values()]
    return sum(histogram_bits(declined, each) for each in sides)


def _is_cell(cell: job_pb2.EvaluationCell) -> bool:
    positives, negatives = sum(cell.positives), sum(cell.negatives)
    return (
        len(cell.positives) == len(cell.negatives) == BINS
        and min(positives, negatives) >= MIN_CASES
        and cell.true_positives <= positives
        and cell.false_positives <= negatives
    )


def _hides_remainders(said: job_pb2.EvaluationStatistics) -> bool:
    """Demand that what a field leaves out is nobody, or ten and ten themselves."""
    sizes = _sizes(said)
    names = [(field, bin_) for field, bin_, *_ in sizes]
    if len(set(names)) < len(names):
        return False
    (_, _, with_one, without), rest = sizes[0], sizes[1:]
    if said.cells:
        without = max(without, 1)  # of scores, ten without the finding are demanded always
    if not all(is_enough(without, *size[2:]) for size in sizes):
        return False
    for field in {size[0] for size in rest}:
        within = [size for size in rest if size[0] == field]
        left = (
            with_one - sum(size[2] for size in within),
            sizes[0][3] - sum(size[3] for size in within),
        )
        if min(left) < 0 or (any(left) and not is_enough(without, *left)):
            return False
    return True


def _is_reading(said: job_pb2.EvaluationStatistics) -> bool:
    if not said.HasField("readers"):
        return True
    readers, counts = said.readers.readers, said.readers.counts
    return readers in READERS and len(counts) == 2**readers and sum(counts) >= FEWEST_READ


def _sizes(said: job_pb2.EvaluationStatistics) -> list[tuple[str, str, int, int]]:
    """Return each cell's name and how many patients with and without the finding it counts."""
    scores = [
        (cell.field, cell.bin, sum(cell.positives), sum(cell.negatives)) for cell in said.cells
    ]
    boxes = [(cell.field, cell.bin, cell.positives, cell.negatives) for cell in said.detections]
    masks = [(cell.field, cell.bin, cell.positives, cell.negatives) for cell in said.overlaps]
    return scores + boxes + masks
