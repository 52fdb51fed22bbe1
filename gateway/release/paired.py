"""The output gate for two products compared: what the pairs can say, and what that carries."""

from collections.abc import Sequence
from itertools import pairwise

from gateway.release.places import COLUMNS, THOUSAND, are_squares, is_enough, number_bits, row_bits
from gateway.release.rules import MIN_CASES, histogram_bits
from protos.overlap import DIFFERENCE_BINS
from protos.scores import BINS, JOINT_BINS
from protos.v1 import job_pb2

ROWS = ("this_hits", "this_marks", "other_hits", "other_marks")
NUMBERS = ("hits_products", "marks_products", "this_alone", "other_alone", "summary_spread")


def is_comparison(said: job_pb2.EvaluationStatistics) -> bool:
    """Say whether a comparison is of what was tested, and of its form; there may be none."""
    if not said.HasField("comparison"):
        return True
    joint = said.comparison
    boxes, masks = joint.HasField("boxes"), joint.HasField("masks")
    if said.cells:
        return not boxes and not masks and _is_joint(joint)
    bare = job_pb2.ProductComparison(other_bundle=joint.other_bundle)
    if said.detections:
        bare.boxes.CopyFrom(joint.boxes)
        return joint == bare and boxes and _is_paired_search(joint.boxes, said.detections[0])
    bare.masks.CopyFrom(joint.masks)
    return joint == bare and masks and _is_paired_dice(joint.masks, said.overlaps[0])


def comparison_bits(joint: job_pb2.ProductComparison) -> float:
    """Bound what vendors can have written by what their two products say."""
    bits = sum(
        histogram_bits(sum(counts), JOINT_BINS**2)
        for counts in (joint.positive_counts, joint.negative_counts)
    )
    compared = sum(joint.positive_counts) + sum(joint.negative_counts)
    bits += histogram_bits(compared, 3)  # right in the one alone, in the other alone, or neither
    boxes, masks = joint.boxes, joint.masks
    if joint.HasField("boxes"):
        bits += sum(row_bits(getattr(boxes, name)[0]) for name in ROWS)
        locked = (*boxes.this_at_threshold, *boxes.other_at_threshold)
        bits += sum(map(number_bits, (*locked, *(getattr(boxes, name) for name in NUMBERS))))
    if joint.HasField("masks"):
        bits += histogram_bits(masks.patients, DIFFERENCE_BINS)
        bits += sum(map(number_bits, (masks.this_dice, masks.other_dice, masks.squares)))
    return bits


def _is_joint(joint: job_pb2.ProductComparison) -> bool:
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


def _is_paired_search(pair: job_pb2.PairedDetections, whole: job_pb2.DetectionCell) -> bool:
    """Demand sums that whole numbers of patients can have, and that show nobody left out."""
    rows = [getattr(pair, name) for name in ROWS]
    locked = pair.this_at_threshold, pair.other_at_threshold
    if any(len(row) != BINS for row in rows) or any(len(five) != len(COLUMNS) for five in locked):
        return False
    this, other = locked
    patients = pair.positives + pair.negatives
    left = whole.positives - pair.positives, whole.negatives - pair.negatives
    return (
        is_enough(whole.negatives, pair.positives, pair.negatives)
        and min(left) >= 0
        and (not any(left) or is_enough(whole.negatives, *left))
        and are_squares(pair.lesions, pair.lesions2, pair.positives)
        and all(low >= high for row in rows for low, high in pairwise(row))
        and max(pair.this_hits[0], pair.other_hits[0]) <= pair.lesions <= whole.lesions
        and all(_is_locked(five, pair, patients) for five in locked)
        and pair.hits_products**2 <= this[1] * other[1]
        and pair.marks_products**2 <= this[4] * other[4]
        and pair.this_alone <= this[0]
        and pair.this_alone - pair.other_alone == this[0] - other[0]
        and pair.summary_spread <= 1_000_000 * pair.lesions**2  # it is of a number in [-1, 1]
    )


def _is_locked(five: Sequence[int], pair: job_pb2.PairedDetections, patients: int) -> bool:
    hits, hits2, crossed, marks, marks2 = five
    return (
        hits <= pair.lesions
        and hits2 <= crossed <= pair.lesions2
        and are_squares(hits, hits2, patients)
        and are_squares(marks, marks2, patients)
    )


def _is_paired_dice(pair: job_pb2.PairedOverlaps, whole: job_pb2.OverlapCell) -> bool:
    most = pair.patients * THOUSAND
    left = whole.positives - pair.patients
    return (
        pair.patients >= MIN_CASES
        and (left == 0 or left >= MIN_CASES)
        and len(pair.differences) == DIFFERENCE_BINS
        and sum(pair.differences) == pair.patients
        and max(pair.this_dice, pair.other_dice) <= most
        and pair.squares <= most * THOUSAND
        and (pair.this_dice - pair.other_dice) ** 2 <= pair.patients * pair.squares
    )
