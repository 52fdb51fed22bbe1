"""Where an image's slices lie in the patient (PS3.3 C.7.6.2, C.7.6.16), single- or multi-frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

Points = NDArray[np.float64]
RIGHT_ANGLE = 0.01
PARALLEL = 1e-3
FARTHEST = 3000.0  # mm from the origin
SMALLEST = 1e-6  # mm: less than any light resolves, and numbers that vanish when multiplied


class Unplaced(Exception):
    """It does not say where it lies in the patient; in words that name nobody."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice: where its first pixel's centre is, and the steps to the next ones, in mm.

    Patient coordinates: x grows to the left, y to the back, z to the head.
    """

    origin: Points
    by_column: Points
    by_row: Points
    rows: int
    columns: int
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def normal(self) -> Points:
        across: Points = np.cross(self.by_column, self.by_row)
        return np.divide(across, np.linalg.norm(across))

    @property
    def corners(self) -> Points:
        right, down = (self.columns - 1) * self.by_column, (self.rows - 1) * self.by_row
        found: Points = self.origin + np.array([0 * right, right, down, right + down])
        return found

    def along(self, axis: int) -> NDArray[np.float32]:
        """Return one coordinate of every pixel's centre: rows by columns."""
        columns = np.arange(self.columns, dtype=np.float32) * np.float32(self.by_column[axis])
        rows = np.arange(self.rows, dtype=np.float32) * np.float32(self.by_row[axis])
        return rows[:, np.newaxis] + columns + np.float32(self.origin[axis])

    def is_like(self, other: "Plane") -> bool:
        """Say whether both have one direction and one grid."""
        steps = np.abs(self.by_column - other.by_column) + np.abs(self.by_row - other.by_row)
        same = (self.rows, self.columns) == (other.rows, other.columns)
        return same and bool(steps.max() < PARALLEL)


def planes_of(dataset: Dataset) -> list[Plane]:
    """Return the plane of every frame; Unplaced where one is not said."""
    try:
        return [_plane(dataset, *groups) for groups in _groups(dataset)]
    except Unplaced:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises anything on damaged values
        raise Unplaced("its header does not say where it lies in the patient") from None


def _groups(dataset: Dataset) -> Iterator[tuple[Dataset, ...]]:
    """Name where each frame's values are looked for: its own items, the shared ones, the root."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    if frames > 1 and len(own) != frames:
        raise Unplaced("its header does not say where each of its frames lies")
    for number in range(frames):
        yield (*own[number : number + 1], *shared, dataset)


def _plane(dataset: Dataset, *groups: Dataset) -> Plane:
    position = _value(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    axes = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    across, down = np.array(axes[:3]), np.array(axes[3:])
    lengths = np.array([np.linalg.norm(across), np.linalg.norm(down)])
    if np.abs(lengths - 1).max() > RIGHT_ANGLE or abs(across @ down) > RIGHT_ANGLE:
        raise Unplaced("its axes are not at right angles")
    if min(spacing) < SMALLEST:
        raise Unplaced("its pixels have no size")
    if max(spacing) > FARTHEST:
        raise Unplaced("its pixels are larger than a patient")
    if max(map(abs, position)) > FARTHEST:
        raise Unplaced("it lies nowhere near a patient")
    slope, intercept = _rescale(groups)
    return Plane(
        origin=np.array(position),
        by_column=across / lengths[0] * spacing[1],
        by_row=down / lengths[1] * spacing[0],
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        slope=slope,
        intercept=intercept,
    )


def _rescale(groups: Sequence[Dataset]) -> tuple[float, float]:
    try:
        slope = _value(groups, "PixelValueTransformationSequence", "RescaleSlope", 1)[0]
        intercept = _value(groups, "PixelValueTransformationSequence", "RescaleIntercept", 1)[0]
    except Unplaced:
        return 1.0, 0.0
    return (slope, intercept) if slope else (1.0, 0.0)


def _value(groups: Sequence[Dataset], sequence: str, keyword: str, wanted: int) -> list[float]:
    for group in groups:
        item: Any = next(iter(group.get(sequence) or ()), group)
        found = item.get(keyword)
        if found is None:
            continue
        values = [found] if isinstance(found, str | int | float) else list(found)
        numbers = [float(value) for value in values]
        if len(numbers) == wanted and all(np.isfinite(numbers)):
            return numbers
    raise Unplaced("its header does not say where it lies in the patient")
