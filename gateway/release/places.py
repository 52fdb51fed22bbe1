"""The output gate for tests of boxes and masks: what their cells can say, and what that carries."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import log2

from gateway.release.rules import MIN_CASES, histogram_bits
from protos.evaluation import Predictions
from protos.overlap import DICE_EDGES, HD95_EDGES
from protos.scores import BINS
from protos.v1 import job_pb2

FEWEST_READ = 20
READERS = range(2, 6)  # one agrees with nobody; the patterns of six would be words too long
THOUSAND = 1000  # Dice is added up in whole thousandths
COLUMNS = ("hits", "hits2", "hits_lesions", "marks", "marks2")


def are_places(said: job_pb2.EvaluationStatistics) -> bool:
    """Say whether cells of boxes or of masks are of their form; there may be none."""
    return (
        all(map(_is_detection, said.detections))
        and all(map(_is_overlap, said.overlaps))
        and _is_agreement(said.reader_dice)
        and _is_voxel_reading(said)
    )


def is_enough(tested_without: int, positives: int, negatives: int) -> bool:
    """Demand ten and ten; where nobody without the finding is tested, there is none to hide."""
    return positives >= MIN_CASES and (negatives >= MIN_CASES or tested_without == 0)


def places_bits(said: job_pb2.EvaluationStatistics) -> float:
    """Bound what a vendor can have written by choosing boxes or masks."""
    return sum(map(_detection_bits, said.detections)) + sum(map(_overlap_bits, said.overlaps))


def _is_detection(cell: job_pb2.DetectionCell) -> bool:
    columns = [getattr(cell, name) for name in COLUMNS]
    if any(len(column) != BINS for column in columns) or len(cell.at_threshold) != len(COLUMNS):
        return False
    steady = all(low >= high for column in columns for low, high in pairwise(column))
    patients = cell.positives + cell.negatives
    rows = [*zip(*columns, strict=True), tuple(cell.at_threshold)]
    return (
        steady
        and are_squares(cell.lesions, cell.lesions2, cell.positives)
        and all(
            hits <= cell.lesions
            and crossed <= cell.lesions2
            and hits2 <= crossed  # nobody has more hits than findings
            and are_squares(hits, hits2, patients)
            and are_squares(marks, marks2, patients)
            for hits, hits2, crossed, marks, marks2 in rows
        )
    )


def _is_agreement(dice: Sequence[int]) -> bool:
    return not dice or (len(dice) == len(DICE_EDGES) + 1 and sum(dice) >= FEWEST_READ)


def _is_voxel_reading(said: job_pb2.EvaluationStatistics) -> bool:
    if not said.HasField("voxel_readers"):
        return True
    found = said.voxel_readers
    return (
        not said.cells  # scores say nothing of places
        and found.readers in READERS
        and len(found.voxels) == 2**found.readers
        and found.cases >= FEWEST_READ
        and sum(found.voxels) >= found.cases
    )


def are_squares(total: int, squares: int, patients: int) -> bool:
    """Say whether whole numbers of so many patients can have this sum and sum of squares."""
    return total <= squares and total**2 <= patients * squares


def _is_overlap(cell: job_pb2.OverlapCell) -> bool:
    most = cell.positives * THOUSAND
    return (
        len(cell.dice) == len(DICE_EDGES) + 1
        and len(cell.hd95) == len(HD95_EDGES) + 1
        and sum(cell.dice) == cell.positives
        and sum(cell.hd95) + cell.undrawn == cell.positives
        and cell.drawn_without <= cell.negatives
        and cell.dice_sum <= most
        and cell.dice_sum2 <= most * THOUSAND
        and cell.dice_sum**2 <= cell.positives * cell.dice_sum2
    )


def most_bits(predictions: Predictions, patients: int, marks: int) -> float:
    """Bound one cell of so many patients, whatever the product marks or draws in them."""
    if predictions is Predictions.MASKS:
        full = job_pb2.OverlapCell(
            positives=patients,
            negatives=patients,
            dice=[0] * (len(DICE_EDGES) + 1),
            hd95=[0] * (len(HD95_EDGES) + 1),
        )
        return _overlap_bits(full)
    return 2 * row_bits(marks) + 3 * row_bits(marks**2)  # two of the five are no squares


def _detection_bits(cell: job_pb2.DetectionCell) -> float:
    """Price five falling rows of whole numbers, and where each stands at the locked threshold."""
    rows: Iterable[Sequence[int]] = (getattr(cell, name) for name in COLUMNS)
    return sum(row_bits(row[0]) for row in rows)


def row_bits(top: int) -> float:
    return number_bits(top) + histogram_bits(top, BINS + 1) + log2(top + 1)


def _overlap_bits(cell: job_pb2.OverlapCell) -> float:
    return (
        histogram_bits(cell.positives, len(cell.dice))
        + histogram_bits(cell.positives, len(cell.hd95) + 1)
        + log2(cell.negatives + 1)
        + log2(cell.positives * THOUSAND + 1)
        + log2(cell.positives * THOUSAND**2 + 1)
    )


def number_bits(number: int) -> float:
    """Return the length of a whole number without a bound, in Elias's gamma code."""
    return 2 * int(number + 1).bit_length() - 1
