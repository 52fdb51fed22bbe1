"""A product's predictions under a protocol: what cannot be used is counted, never dropped."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.evaluate.statistics import (
    HEADER,
    PREDICTIONS_LIMIT_BYTES,
    NoStatistics,
    StatisticsCode,
)


class Fault(StrEnum):
    """Why one case has no score: part of the result, for a product that fails is not excused."""

    MISSING = "missing"  # the product said nothing of it
    UNUSABLE = "unusable"  # not a number, or outside [0, 1]; no box; a mask that is none
    MISPLACED = "misplaced"  # a mask on another grid than the case's images


@dataclass(frozen=True, slots=True)
class Scored:
    """Every expected case once: in `scores`, or in `faults`."""

    scores: Mapping[str, float]
    faults: Mapping[str, Fault]


def read_scored(
    raw: bytes, expected: Mapping[str, int], *, earlier: bool = False
) -> Scored | NoStatistics:
    """Read `case,score` rows; a case nobody asked about, or one twice, spoils the whole file.

    In an `earlier` product's file a case may be of a patient who has withdrawn since: it is passed
    over.
    """
    if len(raw) > PREDICTIONS_LIMIT_BYTES:
        return NoStatistics(StatisticsCode.MALFORMED)
    try:
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return NoStatistics(StatisticsCode.MALFORMED)
    if not rows or rows[0] != HEADER or any(len(row) != len(HEADER) for row in rows[1:]):
        return NoStatistics(StatisticsCode.MALFORMED)
    scores: dict[str, float] = {}
    faults: dict[str, Fault] = {}
    for case, text in rows[1:]:
        if case not in expected:
            if earlier:
                continue
            return NoStatistics(StatisticsCode.UNKNOWN_CASE)
        if case in scores or case in faults:
            return NoStatistics(StatisticsCode.DUPLICATE_CASE)
        score = _score(text)
        if score is None:
            faults[case] = Fault.UNUSABLE
        else:
            scores[case] = score
    faults |= {case: Fault.MISSING for case in expected if case not in scores | faults}
    return Scored(scores, faults)


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if 0.0 <= score <= 1.0 else None  # refuses NaN too
