"""Whether a hospital's statistics can be those of an honest gateway: checked before they count."""

from google.protobuf.message import DecodeError

from coordinator.training.paired_statistics import is_paired_dice, is_paired_search
from protos.overlap import DICE_EDGES, HD95_EDGES
from protos.reports import is_signed, statistics_statement
from protos.scores import BINS, JOINT_BINS
from protos.v1.job_pb2 import (
    DetectionCell,
    EvaluationCell,
    EvaluationStatistics,
    OverlapCell,
    TaskOutcome,
)

LARGEST_BYTES = 64 << 10
CASES_AT_MOST = 1 << 40
VOXELS_AT_MOST = 1 << 62
WORD_LENGTH = 64
READERS = range(2, 6)
COLUMNS = ("hits", "hits2", "hits_lesions", "marks", "marks2")
THOUSAND = 1000  # Dice comes added up in thousandths


def are_sound(outcome: TaskOutcome) -> bool:
    """Say whether statistics are signed and of the form a report is made of; none are, too."""
    if not outcome.statistics:
        return True
    try:
        said = EvaluationStatistics.FromString(outcome.statistics)
    except DecodeError:
        return False
    statement = statistics_statement(outcome.task_id, outcome.statistics)
    if said.HasField("summed"):
        return _is_of_a_sum(said, outcome) and is_signed(
            outcome.statistics_key, outcome.statistics_signature, statement
        )
    return (
        len(outcome.statistics) <= LARGEST_BYTES
        and is_signed(outcome.statistics_key, outcome.statistics_signature, statement)
        and _is_of_one_kind(said)
        and all(map(_is_cell, said.cells))
        and all(map(_is_detection, said.detections))
        and all(map(_is_overlap, said.overlaps))
        and _is_agreement(said)
        and _is_comparison(said)
        and _is_reading(said)
        and _is_voxel_reading(said)
    )


def _is_of_a_sum(said: EvaluationStatistics, outcome: TaskOutcome) -> bool:
    part = said.summed
    return (
        not (said.cells or said.detections or said.overlaps)
        and part.masked_digest == outcome.update_digest
        and {len(part.roster_digest), len(part.sum_key), len(said.protocol_digest)} == {32}
    )


def _is_cell(cell: EvaluationCell) -> bool:
    positives, negatives = sum(cell.positives), sum(cell.negatives)
    return (
        len(cell.positives) == len(cell.negatives) == BINS
        and 0 < positives < CASES_AT_MOST
        and 0 < negatives < CASES_AT_MOST
        and cell.true_positives <= positives
        and cell.false_positives <= negatives
    )


def _is_of_one_kind(said: EvaluationStatistics) -> bool:
    """Demand cells of scores, of boxes or of masks, the whole first, with printable names."""
    kinds = [kind for kind in (said.cells, said.detections, said.overlaps) if kind]
    return (
        len(kinds) == 1
        and not kinds[0][0].field
        and all(
            max(len(cell.field), len(cell.bin)) <= WORD_LENGTH
            and (cell.field + cell.bin).isprintable()
            for cell in kinds[0]
        )
    )


def _is_detection(cell: DetectionCell) -> bool:
    columns = [getattr(cell, name) for name in COLUMNS]
    return (
        all(len(column) == BINS for column in columns)
        and len(cell.at_threshold) == len(COLUMNS)
        and 0 < cell.positives + cell.negatives < CASES_AT_MOST
        and 0 < cell.lesions <= cell.lesions2 < CASES_AT_MOST
        and max(*cell.hits, cell.at_threshold[0]) <= cell.lesions
        and max(max(column) for column in (*columns, cell.at_threshold)) < CASES_AT_MOST
    )


def _is_overlap(cell: OverlapCell) -> bool:
    return (
        (len(cell.dice), len(cell.hd95)) == (len(DICE_EDGES) + 1, len(HD95_EDGES) + 1)
        and 0 < cell.positives < CASES_AT_MOST
        and cell.negatives < CASES_AT_MOST
        and sum(cell.dice) == sum(cell.hd95) + cell.undrawn == cell.positives
        and cell.drawn_without <= cell.negatives
        and cell.dice_sum <= cell.positives * THOUSAND
        and cell.dice_sum**2 <= cell.positives * cell.dice_sum2
    )


def _is_agreement(said: EvaluationStatistics) -> bool:
    bins = len(said.reader_dice)
    return bins in {0, len(DICE_EDGES) + 1} and sum(said.reader_dice) < CASES_AT_MOST


def _is_comparison(said: EvaluationStatistics) -> bool:
    if not said.HasField("comparison"):
        return True
    joint = said.comparison
    sides = (
        (joint.positive_cells, joint.positive_counts),
        (joint.negative_cells, joint.negative_counts),
    )
    places = [joint.HasField("boxes"), joint.HasField("masks")]
    return (
        places == [bool(said.detections), bool(said.overlaps)]
        and (not places[0] or is_paired_search(joint.boxes))
        and (not places[1] or is_paired_dice(joint.masks))
        and all(
            len(cells) == len(counts)
            and all(cell < JOINT_BINS**2 for cell in cells)
            and sum(counts) < CASES_AT_MOST
            for cells, counts in sides
        )
    )


def _is_reading(said: EvaluationStatistics) -> bool:
    if not said.HasField("readers"):
        return True
    readers, counts = said.readers.readers, said.readers.counts
    return readers in READERS and len(counts) == 2**readers and sum(counts) < CASES_AT_MOST


def _is_voxel_reading(said: EvaluationStatistics) -> bool:
    if not said.HasField("voxel_readers"):
        return True
    found = said.voxel_readers
    return (
        found.readers in READERS
        and len(found.voxels) == 2**found.readers
        and 0 < found.cases < CASES_AT_MOST
        and 0 < sum(found.voxels) < VOXELS_AT_MOST
    )
