"""Trusted statistics over a vendor's predictions: those stay, the statistics may leave."""

import csv
import io
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from protos.scores import BINS, LOGIT_EDGES, score_bin
from protos.tensors import Buffer

FEWEST = 10  # positives, and negatives, without which a hospital's own cells stay
PREDICTIONS_LIMIT_BYTES = 64 << 20
HEADER = ["case", "score"]


class StatisticsCode(StrEnum):
    """Why there are no statistics: a closed set the vendor may see."""

    MISSING = "predictions_missing"
    MALFORMED = "predictions_malformed"
    UNKNOWN_CASE = "unknown_case"
    MISSING_CASE = "missing_case"
    DUPLICATE_CASE = "duplicate_case"
    SCORE_OUT_OF_RANGE = "score_out_of_range"
    TOO_FEW_CASES = "too_few_cases"
    REFERENCE_MISSING = "reference_missing"  # nobody here drew where the finding is
    TOO_LARGE = "statistics_too_large"


@dataclass(frozen=True, slots=True)
class NoStatistics:
    code: StatisticsCode


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """Cases per bin of the score, by label: all that the pooled AUC needs."""

    edges: tuple[float, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]

    @property
    def bits(self) -> float:
        """The most a vendor can have written into these counts by choosing scores."""
        return multiset_bits(sum(self.positives)) + multiset_bits(sum(self.negatives))


def read_predictions(raw: Buffer, expected: Collection[str]) -> dict[str, float] | NoStatistics:
    """Read `case,score` rows: every expected case once, no other, each score in [0, 1]."""
    if len(raw) > PREDICTIONS_LIMIT_BYTES:
        return NoStatistics(StatisticsCode.MALFORMED)
    try:
        rows = list(csv.reader(io.StringIO(bytes(raw).decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return NoStatistics(StatisticsCode.MALFORMED)
    if not rows or rows[0] != HEADER:
        return NoStatistics(StatisticsCode.MALFORMED)
    wanted, scores = set(expected), dict[str, float]()
    for row in rows[1:]:
        if (fault := _add(row, wanted, scores)) is not None:
            return NoStatistics(fault)
    return scores if len(scores) == len(wanted) else NoStatistics(StatisticsCode.MISSING_CASE)


def score_histogram(
    scores: Mapping[str, float], truth: Mapping[str, int]
) -> ScoreHistogram | NoStatistics:
    """Count scores by the protocol's bins; nothing under ten positives and ten negatives.

    The rule is on the whole: withholding small bins one by one would bend the ROC curve.
    """
    positives, negatives = [0] * BINS, [0] * BINS
    for case, score in scores.items():
        (positives if truth[case] else negatives)[score_bin(score)] += 1
    if min(sum(positives), sum(negatives)) < FEWEST:
        return NoStatistics(StatisticsCode.TOO_FEW_CASES)
    return ScoreHistogram(LOGIT_EDGES, tuple(positives), tuple(negatives))


def _add(row: list[str], wanted: set[str], scores: dict[str, float]) -> StatisticsCode | None:
    """Take one row in, or say why not."""
    if len(row) != len(HEADER):
        return StatisticsCode.MALFORMED
    case, text = row
    if case not in wanted:
        return StatisticsCode.UNKNOWN_CASE
    if case in scores:
        return StatisticsCode.DUPLICATE_CASE
    try:
        score = float(text)
    except ValueError:
        return StatisticsCode.MALFORMED
    if not 0.0 <= score <= 1.0:  # refuses NaN too
        return StatisticsCode.SCORE_OUT_OF_RANGE
    scores[case] = score
    return None


def multiset_bits(cases: int, bins: int = BINS) -> float:
    """Return log2 of the ways to drop n cases into b bins: C(n + b - 1, b - 1)."""
    logarithm = math.lgamma(cases + bins) - math.lgamma(cases + 1) - math.lgamma(bins)
    return logarithm / math.log(2)
