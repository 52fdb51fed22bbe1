"""Figures of tests of boxes and of masks, from hospitals' sums and counts."""

from collections.abc import Sequence

from coordinator.evaluation.document import DetectionFigures, OverlapFigures
from coordinator.evaluation.froc import Froc, FrocSums, add, froc
from coordinator.evaluation.intervals import share
from coordinator.evaluation.overlap import dice, hd95, mean_dice
from protos.v1.job_pb2 import DetectionCell, OverlapCell

COLUMNS = ("hits", "hits2", "hits_lesions", "marks", "marks2")


def curve(cells: Sequence[DetectionCell]) -> Froc | None:
    """Return the FROC curve of all patients of these cells."""
    sums = add(_sums(cell) for cell in cells)
    return froc(sums) if sums is not None else None


def detection(cells: Sequence[DetectionCell]) -> DetectionFigures:
    """Pool cells of the same group; at the locked threshold on the scores themselves."""
    whole, locked = curve(cells), add(_locked(cell) for cell in cells)
    at = froc(locked) if locked is not None else None
    return DetectionFigures(
        positives=sum(cell.positives for cell in cells),
        negatives=sum(cell.negatives for cell in cells),
        lesions=sum(cell.lesions for cell in cells),
        at_threshold=at.points[0] if at else None,
        mean_sensitivity=whole.mean_sensitivity if whole else None,
    )


def overlap(cells: Sequence[OverlapCell]) -> OverlapFigures:
    """Pool cells of the same group, bin by bin."""
    positives = sum(cell.positives for cell in cells)
    negatives = sum(cell.negatives for cell in cells)
    return OverlapFigures(
        positives=positives,
        negatives=negatives,
        dice=dice(cell.dice for cell in cells),
        mean_dice=mean_dice(
            positives,
            sum(cell.dice_sum for cell in cells),
            sum(cell.dice_sum2 for cell in cells),
        ),
        hd95=hd95(cell.hd95 for cell in cells),
        undrawn=share(sum(cell.undrawn for cell in cells), positives),
        drawn_without=share(sum(cell.drawn_without for cell in cells), negatives),
    )


def _sums(cell: DetectionCell) -> FrocSums:
    columns = {name: tuple(getattr(cell, name)) for name in COLUMNS}
    return FrocSums(cell.positives + cell.negatives, cell.lesions, cell.lesions2, **columns)


def _locked(cell: DetectionCell) -> FrocSums:
    columns = {name: (value,) for name, value in zip(COLUMNS, cell.at_threshold, strict=True)}
    return FrocSums(cell.positives + cell.negatives, cell.lesions, cell.lesions2, **columns)
