"""A product's boxes: one row each, read without believing them; what cannot be used is counted."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from gateway.evaluate.detections import Mark
from gateway.evaluate.predictions import Fault
from gateway.evaluate.statistics import PREDICTIONS_LIMIT_BYTES, NoStatistics, StatisticsCode
from gateway.model import Box, Point
from protos.tensors import Buffer

HEADER = ["case", "score", "x1", "y1", "z1", "x2", "y2", "z2"]
MARKS_AT_MOST = 100  # in one case: FROC reads up to eight false ones a patient
FAR_MM = 1e5  # nobody is as large


@dataclass(frozen=True, slots=True)
class Boxed:
    """Every expected case once: in `marks`, perhaps with none, or in `faults`."""

    marks: Mapping[str, Sequence[Mark]]
    faults: Mapping[str, Fault]


def read_boxes(
    raw: Buffer, expected: Collection[str], *, earlier: bool = False
) -> Boxed | NoStatistics:
    """Read rows of boxes; a case in which nothing was marked has one row that is empty but for it.

    A case nobody asked about, a box twice, or an empty row beside others spoils the whole file. In
    an `earlier` product's file a case may be of a patient who has withdrawn since.
    """
    if len(raw) > PREDICTIONS_LIMIT_BYTES:
        return NoStatistics(StatisticsCode.MALFORMED)
    try:
        rows = list(csv.reader(io.StringIO(bytes(raw).decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return NoStatistics(StatisticsCode.MALFORMED)
    if not rows or rows[0] != HEADER or any(len(row) != len(HEADER) for row in rows[1:]):
        return NoStatistics(StatisticsCode.MALFORMED)
    by_case: dict[str, list[tuple[str, ...]]] = {}
    for case, *words in rows[1:]:
        if case not in expected:
            if earlier:
                continue
            return NoStatistics(StatisticsCode.UNKNOWN_CASE)
        by_case.setdefault(case, []).append(tuple(words))
    if any(_is_twofold(listed) for listed in by_case.values()):
        return NoStatistics(StatisticsCode.DUPLICATE_CASE)
    marks: dict[str, Sequence[Mark]] = {}
    faults = {case: Fault.MISSING for case in expected if case not in by_case}
    for case, listed in by_case.items():
        found = [mark for words in listed if any(words) if (mark := _mark(words)) is not None]
        if len(found) < sum(any(words) for words in listed) or len(found) > MARKS_AT_MOST:
            faults[case] = Fault.UNUSABLE
        else:
            marks[case] = found
    return Boxed(marks, faults)


def _is_twofold(listed: Sequence[tuple[str, ...]]) -> bool:
    bare = sum(not any(words) for words in listed)
    return len(set(listed)) < len(listed) or (bare > 0 and len(listed) > bare)


def _mark(words: Sequence[str]) -> Mark | None:
    """Return a box with its score in [0, 1]; None for what is none."""
    try:
        score, *ends = map(float, words)
    except ValueError:
        return None
    low, high = _point(ends[:3]), _point(ends[3:])
    ordered = all(a <= b for a, b in zip(low, high, strict=True))
    near = all(isfinite(end) and abs(end) <= FAR_MM for end in ends)
    return Mark(Box(low, high), score) if 0.0 <= score <= 1.0 and ordered and near else None


def _point(ends: Sequence[float]) -> Point:
    x, y, z = ends
    return x, y, z
