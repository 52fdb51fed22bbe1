"""The bins every evaluation is counted on: fixed here, so that hospitals' counts can be added."""

import math
from bisect import bisect_right

BINS = 200
# Ascending upper edges of all bins but the last, on the logit scale; bin i is [edge i-1, edge i).
LOGIT_EDGES = tuple(round(-9.9 + 0.1 * i, 10) for i in range(BINS - 1))
# Where a case of a bin is taken to stand, on the logit scale; the two outer bins as if closed.
MIDDLES = tuple(round(-9.95 + 0.1 * i, 10) for i in range(BINS))
JOINT = 4  # bins of the score in one bin of a comparison: 50 x 50 cells fit into one message
JOINT_BINS = BINS // JOINT
FALSE_MARKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # a patient, where FROC is read off: LUNA16's


def score_bin(score: float) -> int:
    """Return the bin of a score in [0, 1]."""
    if score <= 0.0:
        return 0
    if score >= 1.0:
        return BINS - 1
    return bisect_right(LOGIT_EDGES, math.log(score) - math.log1p(-score))
