"""Masks against reference masks: Dice and the 95th percentile of surface distances, in bins."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import numpy.typing as npt

from gateway.evaluate.predictions import Fault
from protos.overlap import DICE_EDGES, HD95_EDGES

Mask = npt.NDArray[np.bool_]
SURFACE_AT_MOST = 1 << 22  # voxels: what has more is no lesion and no organ
THOUSAND = 1000  # Dice is added up in whole thousandths


def dice(product: Mask, reference: Mask) -> float:
    """Return 2 |A n B| / (|A| + |B|); 1 where both are empty: nothing was there, nothing found."""
    size = int(product.sum()) + int(reference.sum())
    return 1.0 if size == 0 else 2 * int((product & reference).sum()) / size


def hd95(product: Mask, reference: Mask, spacing: tuple[float, ...]) -> float | None:
    """Return the 95th percentile of distances between surfaces, both ways together, in mm.

    None where either mask is empty: there is no surface to be far from.
    """
    surfaces = [_surface(mask) * np.asarray(spacing) for mask in (product, reference)]
    if not all(map(len, surfaces)):
        return None
    from scipy.spatial import KDTree

    trees = [KDTree(surface) for surface in surfaces]
    apart = (trees[1].query(surfaces[0])[0], trees[0].query(surfaces[1])[0])
    return float(np.percentile(np.concatenate(apart), 95))


def surface_size(mask: Mask) -> int:
    """Return how many voxels a mask's surface has: what a comparison of it will take."""
    return len(_surface(mask))


def dice_counts(values: Iterable[float]) -> tuple[int, ...]:
    return _counts(values, DICE_EDGES)


def hd95_counts(values: Iterable[float]) -> tuple[int, ...]:
    return _counts(values, HD95_EDGES)


def _surface(mask: Mask) -> npt.NDArray[np.int64]:
    """Return the places of voxels with background at a face; beyond the image is background."""
    from scipy.ndimage import binary_erosion

    held = [np.flatnonzero(mask.any(axis=other)) for other in _others(mask.ndim)]
    if not all(map(len, held)):
        return np.empty((0, mask.ndim), np.int64)
    box = tuple(slice(int(each[0]), int(each[-1]) + 1) for each in held)
    inner = mask[box]
    places: npt.NDArray[np.int64] = np.argwhere(inner & ~binary_erosion(inner, border_value=0))
    places += np.array([each.start for each in box])
    return places


def _others(axes: int) -> list[tuple[int, ...]]:
    return [tuple(other for other in range(axes) if other != axis) for axis in range(axes)]


def _counts(values: Iterable[float], edges: tuple[float, ...]) -> tuple[int, ...]:
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_right(edges, value)] += 1
    return tuple(counts)


@dataclass(frozen=True, slots=True)
class Case:
    """How a product's mask of one case lies on the reference's; None where there is no measure."""

    drew: bool
    dice: float | None
    hd95: float | None


def compare(product: Mask, reference: Mask, spacing: tuple[float, ...]) -> Case:
    """Measure one case; where neither drew anything, there is nothing to measure."""
    drew = bool(product.any())
    if not drew and not reference.any():
        return Case(drew=False, dice=None, hd95=None)
    return Case(drew, dice(product, reference), hd95(product, reference, spacing))


@dataclass(frozen=True, slots=True)
class Overlapped:
    """One patient's masks: the mean over its cases."""

    fault: Fault | None
    positive: bool
    groups: Mapping[str, str]
    drew: bool = False
    dice: float | None = None
    hd95: float | None = None


def overlapped(cases: Sequence[Case], groups: Mapping[str, str], *, positive: bool) -> Overlapped:
    measured = [case.dice for case in cases if case.dice is not None]
    apart = [case.hd95 for case in cases if case.hd95 is not None]
    return Overlapped(
        fault=None,
        positive=positive,
        groups=groups,
        drew=any(case.drew for case in cases),
        dice=fmean(measured) if measured else None,
        hd95=fmean(apart) if apart else None,
    )


@dataclass(slots=True)
class Overlaps:
    """Patients by Dice and HD95 where there is a finding; without one, who was drawn into."""

    positives: int = 0
    negatives: int = 0
    dice: list[int] = field(default_factory=lambda: [0] * (len(DICE_EDGES) + 1))
    hd95: list[int] = field(default_factory=lambda: [0] * (len(HD95_EDGES) + 1))
    undrawn: int = 0
    drawn_without: int = 0
    dice_sum: int = 0
    dice_sum2: int = 0

    def add(self, patient: Overlapped) -> None:
        if not patient.positive:
            self.negatives += 1
            self.drawn_without += patient.drew
            return
        reached = patient.dice or 0.0
        thousandths = round(reached * THOUSAND)
        self.positives += 1
        self.dice[bisect_right(DICE_EDGES, reached)] += 1
        self.dice_sum += thousandths
        self.dice_sum2 += thousandths**2
        if patient.hd95 is None:
            self.undrawn += 1  # or what it drew lies in another series than the finding
        else:
            self.hd95[bisect_right(HD95_EDGES, patient.hd95)] += 1

    @property
    def size(self) -> tuple[int, int]:
        return self.positives, self.negatives
