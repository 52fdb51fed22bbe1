"""Whether a hospital's comparison of two products can be an honest gateway's."""

from protos.overlap import DIFFERENCE_BINS
from protos.scores import BINS
from protos.v1.job_pb2 import PairedDetections, PairedOverlaps

CASES_AT_MOST = 1 << 40
FIVE = 5  # sums of one product at its threshold, as in DetectionCell
THOUSAND = 1000  # Dice comes added up in thousandths


def is_paired_search(pair: PairedDetections) -> bool:
    rows = (pair.this_hits, pair.this_marks, pair.other_hits, pair.other_marks)
    locked = (pair.this_at_threshold, pair.other_at_threshold)
    if any(len(row) != BINS for row in rows) or any(len(five) != FIVE for five in locked):
        return False
    this, other = locked
    return (
        0 < pair.positives + pair.negatives < CASES_AT_MOST
        and 0 < pair.lesions <= pair.lesions2 < CASES_AT_MOST
        and max(*pair.this_hits, *pair.other_hits, this[0], other[0]) <= pair.lesions
        and max(max(row) for row in (*rows, *locked)) < CASES_AT_MOST
        and pair.hits_products**2 <= this[1] * other[1]
        and pair.marks_products**2 <= this[4] * other[4]
        and pair.this_alone - pair.other_alone == this[0] - other[0]
    )


def is_paired_dice(pair: PairedOverlaps) -> bool:
    most = pair.patients * THOUSAND
    return (
        0 < pair.patients < CASES_AT_MOST
        and len(pair.differences) == DIFFERENCE_BINS
        and sum(pair.differences) == pair.patients
        and max(pair.this_dice, pair.other_dice) <= most
        and (pair.this_dice - pair.other_dice) ** 2 <= pair.patients * pair.squares
    )
