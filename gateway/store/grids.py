"""Where a series' voxels lie: the grid on which masks and boxes of it are compared.

The rules are those of the reader library inside the sandbox (`radfed_job.Case.volume`), so that a
product and its judge speak of the same voxels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.errors import IntegrityFault
from gateway.model import Box, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = 3
TAGS = ["SOPInstanceUID", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "SliceThickness",
        "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber"]  # fmt: skip
VOXELS_AT_MOST = 1 << 30


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxels as (plane, row, column), and the way from there to millimetres."""

    shape: tuple[int, int, int]
    affine: "NDArray[Any]"  # 4 x 4: takes (z, y, x, 1) to the patient's coordinates
    planes: Mapping[str, int]  # which plane an instance begins at

    @property
    def spacing(self) -> Point:
        z, y, x = (float(np.linalg.norm(self.affine[:AXES, axis])) for axis in range(AXES))
        return z, y, x

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """Return the box around the voxels from `low` to `high`, both included, to their edges."""
        ends = ((a - 0.5, b + 0.5) for a, b in zip(low, high, strict=True))
        corners = np.array([[*each, 1.0] for each in _corners(*ends)])
        placed = corners @ self.affine.T
        return around(placed[:, :AXES])


def around(points: "NDArray[Any]") -> Box:
    """Return the box around points in millimetres."""
    low, high = points.min(axis=0), points.max(axis=0)
    return Box(_point(low), _point(high))


def grid_of(files: Sequence[Path]) -> Grid:
    """Read a series' grid from its headers; IntegrityFault where no volume can be built of it."""
    from pydicom import dcmread

    try:
        headers = [dcmread(path, stop_before_pixels=True, specific_tags=TAGS) for path in files]
        return _grid(sorted(headers, key=_place))
    except OSError:
        raise
    except Exception as fault:
        raise IntegrityFault("the headers of a series give no volume") from fault


def _grid(headers: Sequence[Any]) -> Grid:
    first = headers[0]
    sizes = {(int(one.Rows), int(one.Columns)) for one in headers}
    ((rows, columns),) = sizes  # a series of two matrices is no volume
    frames = [int(one.get("NumberOfFrames") or 1) for one in headers]
    starts = np.cumsum([0, *frames])
    shape = (int(starts[-1]), rows, columns)
    if np.prod([float(length) for length in shape]) > VOXELS_AT_MOST:
        raise IntegrityFault("a series has more voxels than are compared")
    planes = {
        str(one.SOPInstanceUID): int(at) for one, at in zip(headers, starts[:-1], strict=True)
    }
    return Grid(shape, _affine(first, _spacing(headers)), planes)


def _place(header: Any) -> tuple[float, int]:  # noqa: ANN401 - a pydicom dataset
    number = int(header.get("InstanceNumber") or 0)
    axes, position = axes_of(header), header.get("ImagePositionPatient")
    if axes is None or position is None or len(position) != AXES:
        return (0.0, number)
    return (float(np.dot(np.cross(*axes), np.array(position, float))), number)


def axes_of(header: Any) -> "tuple[NDArray[Any], NDArray[Any]] | None":  # noqa: ANN401 - as above
    """Return the ways a row and a column run (PS3.3 C.7.6.2.1.1); None where nothing says so."""
    orientation = header.get("ImageOrientationPatient")
    if orientation is None or len(orientation) != 2 * AXES:
        return None
    return np.array(orientation[:AXES], float), np.array(orientation[AXES:], float)


def _spacing(headers: Sequence[Any]) -> Point:
    first = headers[0]
    rows, columns = (float(value) for value in first.get("PixelSpacing") or (1.0, 1.0))
    gaps = np.diff([_place(header)[0] for header in headers])
    between = float(np.median(gaps)) if len(gaps) and np.any(gaps > 0) else 0.0
    return between or float(first.get("SliceThickness") or 1.0), rows, columns


def _affine(first: Any, spacing: Point) -> "NDArray[Any]":  # noqa: ANN401 - as above
    """Return the way to millimetres; where nothing says where a series lies, it lies at zero."""
    axes, position = axes_of(first), first.get("ImagePositionPatient")
    known = axes is not None and position is not None and len(position) == AXES
    row, column = axes if known and axes is not None else (np.eye(AXES)[0], np.eye(AXES)[1])
    affine = np.eye(AXES + 1)
    affine[:AXES, 0] = np.cross(row, column) * spacing[0]
    affine[:AXES, 1] = column * spacing[1]
    affine[:AXES, 2] = row * spacing[2]
    affine[:AXES, AXES] = np.array(position, float) if known else 0.0
    return affine


def _corners(
    z: tuple[float, float], y: tuple[float, float], x: tuple[float, float]
) -> list[tuple[float, float, float]]:
    return [(a, b, c) for a in z for b in y for c in x]


def _point(values: "NDArray[Any]") -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
