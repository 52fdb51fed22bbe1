"""A product's boxes or masks beside an earlier product's, on the same patients and reference."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from statistics import fmean

import numpy as np

from gateway.desk.locked_sets import Earlier
from gateway.evaluate.boxes import Boxed, read_boxes
from gateway.evaluate.detections import COLUMNS, Searches
from gateway.evaluate.masks import Packed, read_masks, unpacked
from gateway.evaluate.overlap import Mask, Overlapped, dice
from gateway.evaluate.paired_boxes import PairedFound, PairedSearches, paired_searches, search_both
from gateway.evaluate.paired_masks import PairedDice, paired_dice
from gateway.evaluate.pairing import Both, comparable
from gateway.evaluate.predictions import Fault
from gateway.evaluate.statistics import NoStatistics
from gateway.model import Box
from gateway.store.grids import Grid
from protos.evaluation import EvaluationProtocol
from protos.scores import BINS
from protos.v1 import job_pb2

# A look that is judged again after a crash must say the same: chance is told how to begin.
RESAMPLED_FROM = 2026


class BesideBoxes:
    def __init__(
        self, earlier: Earlier, protocol: EvaluationProtocol, expected: Mapping[str, int]
    ) -> None:
        read = read_boxes(earlier.predictions, expected, earlier=True)
        self._read = None if isinstance(read, NoStatistics) else read
        self._bundle = earlier.bundle
        self._hit = protocol.hit
        self._thresholds = protocol.locked, earlier.threshold
        self._tested = list[Both[PairedFound]]()

    def look(
        self,
        cases: Sequence[str],
        findings: Sequence[Sequence[Box] | None],
        first: Boxed,
        *,
        positive: bool,
    ) -> None:
        """Look at a patient once more, with what the earlier product marked."""
        second, found = self._read, None
        if second is not None and not any(case in second.faults for case in cases):
            assert self._hit is not None
            found = reduce(
                add,
                (
                    search_both(
                        each or [],
                        (first.marks[case], second.marks[case]),
                        self._hit,
                        self._thresholds,
                    )
                    for case, each in zip(cases, findings, strict=True)
                ),
            )
        self._tested.append(Both(positive, found))

    def tell(self, said: job_pb2.EvaluationStatistics) -> None:
        """Add the comparison, where there are enough to compare."""
        compared = comparable(self._tested)
        if not any(positive for positive, _ in compared):
            return
        sums = paired_searches(compared, np.random.default_rng(RESAMPLED_FROM))
        said.comparison.other_bundle = self._bundle
        said.comparison.boxes.CopyFrom(paired_detections(sums))


class BesideMasks:
    def __init__(self, earlier: Earlier, expected: Mapping[str, int]) -> None:
        read = read_masks(earlier.predictions, expected, earlier=True)
        self._read: Mapping[str, Packed] = {} if isinstance(read, NoStatistics) else read
        self._bundle = earlier.bundle
        self._tested = list[Both[tuple[float, float]]]()

    def lay(self, case: str, grid: Grid, reference: Mask | None) -> float | Fault | None:
        """Return the Dice of the earlier product's mask; None where nothing was there or drawn."""
        if case not in self._read:
            return Fault.MISSING
        mask = unpacked(self._read[case], grid.shape, grid.affine)
        if isinstance(mask, Fault):
            return mask
        if reference is None:
            return 0.0 if mask.any() else None
        return dice(mask, reference) if mask.any() or reference.any() else None

    def add(self, first: Overlapped, laid: Sequence[float | Fault | None]) -> None:
        """Count a patient with the finding; its Dice is the mean over its cases."""
        if not first.positive or first.fault is not None:
            return
        found = None
        if not any(isinstance(each, Fault) for each in laid):
            measured = [each for each in laid if isinstance(each, float)]
            found = first.dice or 0.0, fmean(measured) if measured else 0.0
        self._tested.append(Both(positive=True, found=found))

    def tell(self, said: job_pb2.EvaluationStatistics) -> None:
        """Add the comparison, where there are enough to compare."""
        compared = comparable(self._tested)
        if not compared:
            return
        sums = paired_dice(pair for _positive, pair in compared)
        said.comparison.other_bundle = self._bundle
        said.comparison.masks.CopyFrom(paired_overlaps(sums))


def paired_detections(sums: PairedSearches) -> job_pb2.PairedDetections:
    one, other = sums.first, sums.second
    return job_pb2.PairedDetections(
        positives=one.positives,
        negatives=one.negatives,
        lesions=one.lesions,
        lesions2=one.lesions2,
        this_hits=one.columns["hits"][:BINS].tolist(),
        this_marks=one.columns["marks"][:BINS].tolist(),
        other_hits=other.columns["hits"][:BINS].tolist(),
        other_marks=other.columns["marks"][:BINS].tolist(),
        this_at_threshold=_locked(one),
        other_at_threshold=_locked(other),
        hits_products=sums.hits_products,
        marks_products=sums.marks_products,
        this_alone=sums.first_alone,
        other_alone=sums.second_alone,
        summary_spread=sums.summary_spread,
    )


def paired_overlaps(sums: PairedDice) -> job_pb2.PairedOverlaps:
    return job_pb2.PairedOverlaps(
        patients=sums.patients,
        this_dice=sums.first,
        other_dice=sums.second,
        squares=sums.squares,
        differences=sums.differences,
    )


def _locked(sums: Searches) -> list[int]:
    return [int(sums.columns[name][BINS]) for name in COLUMNS]
