"""Where readers drew a finding: the geometry of stored SEG, RTSTRUCT and measurement reports.

The same objects give labels (`standards`); here they are read once more, when a product that says
where findings are is judged, and laid on the grid of the series they speak of.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.errors import IntegrityFault
from gateway.model import Box
from gateway.store.grids import AXES, Grid, around
from gateway.store.standards import (
    BYTES_AT_MOST,
    EVALUATIONS,
    FOUND_AT_MOST,
    MEASUREMENT_GROUP,
    POSITIVE,
    REPORTS,
    SEGMENTATIONS,
    STRUCTURES,
    below,
    code_in,
    items,
    name_of,
    references,
    slug,
    told_in,
    uid_in,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset  # whoever only counts need not wait for pydicom

SAMPLES_AT_MOST: Final = 1 << 28  # of one segmentation, unpacked
ALIGNED: Final = 0.1  # of a voxel: what is further off lies on another grid
WHOLLY: Final = 255  # what a fractional segmentation calls all, where it does not say (C.8.20.2)
KINDS: Final = {8: "u1", 16: "u2"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """One object's word on where a finding is in one series."""

    mask: "NDArray[np.bool_] | None" = None
    boxes: tuple[Box, ...] = ()


def drawing_of(path: Path, label: str, grid: Grid) -> Drawing:
    """Read where an object draws a label; IntegrityFault where it does so on another grid."""
    from pydicom import dcmread

    if path.stat().st_size > BYTES_AT_MOST:
        raise IntegrityFault("a stored reference standard is too large to be compared with")
    try:
        return drawing_in(dcmread(path), label, grid)
    except (OSError, MemoryError, IntegrityFault):
        raise
    except Exception as fault:
        raise IntegrityFault("a stored reference standard cannot be read") from fault


def drawing_in(document: "Dataset", label: str, grid: Grid) -> Drawing:
    sop_class = str(document.SOPClassUID)
    if sop_class in SEGMENTATIONS:
        return Drawing(mask=_segment(document, label, grid))
    if sop_class == STRUCTURES:
        return Drawing(boxes=_few(_structures(document, label, grid)))
    if sop_class in REPORTS:
        return Drawing(boxes=_few(_regions(document, label, grid)))
    return Drawing()


def _few(boxes: Iterable[Box]) -> tuple[Box, ...]:
    found = tuple(box for box, _ in zip(boxes, range(FOUND_AT_MOST), strict=False))
    if len(found) == FOUND_AT_MOST:
        raise IntegrityFault("a reference standard says more than any reader could")
    return found


def _segment(document: "Dataset", label: str, grid: Grid) -> "NDArray[np.bool_]":
    """Lay the segments of a name on the grid, frame by frame (PS3.3 C.8.20.2, C.7.6.16)."""
    wanted = {
        int(segment.SegmentNumber)
        for segment in items(document, "SegmentSequence")
        if name_of(next(items(segment, "SegmentedPropertyTypeCodeSequence"), None)) == label
    }
    mask = np.zeros(grid.shape, bool)
    shared = next(items(document, "SharedFunctionalGroupsSequence"), None)
    frames = list(items(document, "PerFrameFunctionalGroupsSequence"))
    mapped = document.get("SegmentationType") == "LABELMAP"
    half = int(document.get("MaximumFractionalValue") or WHOLLY) / 2
    fractional = document.get("SegmentationType") == "FRACTIONAL"
    for frame, values in zip(frames, _planes(document), strict=True):
        if mapped:
            drawn = np.isin(values, list(wanted))
        elif _number(frame, shared) in wanted:
            drawn = values >= half if fractional else values > 0
        else:
            continue
        if drawn.any():
            mask[_plane(frame, shared, drawn.shape, grid)] |= drawn
    return mask


def _planes(document: "Dataset") -> "Iterable[NDArray[Any]]":
    """Return the pixels by frame; only what pydicom itself can unpack is unpacked."""
    from pydicom.uid import RLELossless

    rows, columns = int(document.Rows), int(document.Columns)
    count, bits = int(document.NumberOfFrames), int(document.BitsAllocated)
    samples = rows * columns * count
    if samples > SAMPLES_AT_MOST:
        raise IntegrityFault("a stored segmentation is too large to be compared with")
    syntax = document.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        document.pixel_array_options(decoding_plugin="pydicom")
        unpacked: NDArray[Any] = document.pixel_array.reshape(count, rows, columns)
        return unpacked
    if syntax.is_compressed:
        raise IntegrityFault("a stored segmentation is packed in a way that is not read")
    if bits == 1:
        return _bit_planes(np.frombuffer(document.PixelData, np.uint8), rows, columns, count)
    kind = np.dtype(KINDS[bits]).newbyteorder("<" if syntax.is_little_endian else ">")
    return np.frombuffer(document.PixelData, kind, samples).reshape(count, rows, columns)


def _bit_planes(
    packed: "NDArray[np.uint8]", rows: int, columns: int, count: int
) -> "Iterator[NDArray[Any]]":
    """Unpack a frame at a time: a whole volume of bits would be eight times as large."""
    size = rows * columns
    if len(packed) * 8 < size * count:
        raise IntegrityFault("a stored segmentation ends before its last frame")
    for start in range(0, size * count, size):
        held = np.unpackbits(packed[start // 8 : (start + size + 7) // 8], bitorder="little")
        yield held[start % 8 : start % 8 + size].reshape(rows, columns)


def _number(frame: "Dataset", shared: "Dataset | None") -> int:
    found = _group(frame, shared, "SegmentIdentificationSequence")
    return int(found.ReferencedSegmentNumber) if found is not None else 1


def _group(frame: "Dataset", shared: "Dataset | None", keyword: str) -> "Dataset | None":
    """Return a functional group of a frame: its own, or the one all share."""
    own = next(items(frame, keyword), None)
    return own if own is not None or shared is None else next(items(shared, keyword), None)


def _plane(frame: "Dataset", shared: "Dataset | None", shape: tuple[int, ...], grid: Grid) -> int:
    """Return which plane of the grid a frame lies on; IntegrityFault where it lies on none."""
    if shape != grid.shape[1:]:
        raise IntegrityFault("a stored segmentation has another matrix than its images")
    _require_parallel(frame, shared, grid)
    named = [grid.planes[uid] for uid in _sources(frame) if uid in grid.planes]
    if len(set(named)) == 1:
        return named[0]
    place = _group(frame, shared, "PlanePositionSequence")
    if place is None:
        if grid.shape[0] == 1:
            return 0
        raise IntegrityFault("a stored segmentation does not say where it lies")
    position = np.array([*place.ImagePositionPatient, 1.0], float)
    z, y, x = np.linalg.solve(grid.affine, position)[:AXES]
    plane = round(float(z))
    if max(abs(z - plane), abs(y), abs(x)) > ALIGNED or not 0 <= plane < grid.shape[0]:
        raise IntegrityFault("a stored segmentation lies on another grid than its images")
    return plane


def _require_parallel(frame: "Dataset", shared: "Dataset | None", grid: Grid) -> None:
    turned = _group(frame, shared, "PlaneOrientationSequence")
    measured = _group(frame, shared, "PixelMeasuresSequence")
    if turned is None or measured is None or measured.get("PixelSpacing") is None:
        return
    ways = np.array(turned.ImageOrientationPatient, float).reshape(2, AXES)
    rows, columns = (float(value) for value in measured.PixelSpacing)
    steps = np.stack([ways[1] * rows, ways[0] * columns])  # down a column, along a row
    apart = np.abs(steps - grid.affine[:AXES, 1:AXES].T).max()
    # At the far edge of the matrix the two may be one tenth of a voxel apart.
    if apart * max(grid.shape[1:]) > ALIGNED * min(grid.spacing[1:]):
        raise IntegrityFault("a stored segmentation lies on another grid than its images")


def _sources(frame: "Dataset") -> Iterator[str]:
    for derived in items(frame, "DerivationImageSequence"):
        for source in items(derived, "SourceImageSequence"):
            yield uid_in(source, "ReferencedSOPInstanceUID")


def _structures(document: "Dataset", label: str, grid: Grid) -> Iterator[Box]:
    """Yield a box for each region of interest of a name that is drawn (PS3.3 C.8.8.6)."""
    named = set()
    for roi in items(document, "RTROIObservationsSequence"):
        code = next(items(roi, "RTROIIdentificationCodeSequence"), None)
        if (name_of(code) or slug(str(roi.get("RTROIInterpretedType") or ""))) == label:
            named.add(int(roi.ReferencedROINumber))
    for roi in items(document, "ROIContourSequence"):
        points = [
            np.array(contour.ContourData, float).reshape(-1, AXES)
            for contour in items(roi, "ContourSequence")
        ]
        if int(roi.ReferencedROINumber) in named and points:
            yield _thick(around(np.concatenate(points)), grid)


def _regions(document: "Dataset", label: str, grid: Grid) -> Iterator[Box]:
    """Yield a box for each measurement group that says a label is there, and where (TID 1410)."""
    for group in below(document):
        concept = code_in(group, "ConceptNameCodeSequence")
        if concept not in (MEASUREMENT_GROUP, EVALUATIONS):
            continue
        if (label, POSITIVE) not in set(told_in(group)):
            continue
        boxes = [box for item in below(group) if (box := _region(item, grid)) is not None]
        if boxes:
            yield around(np.array([end for box in boxes for end in box]))


def _region(item: "Dataset", grid: Grid) -> Box | None:
    """Return the box of one set of coordinates (PS3.3 C.18.6, C.18.9); None for other content."""
    kind = item.get("ValueType")
    if kind not in ("SCOORD", "SCOORD3D"):
        return None
    graphic, values = str(item.GraphicType), np.array(item.GraphicData, float)
    if kind == "SCOORD3D":
        box = around(values.reshape(-1, AXES))
    else:
        box = _on_image(item, graphic, values.reshape(-1, 2), grid)
    return box if graphic == "POINT" else _thick(box, grid)


def _on_image(item: "Dataset", graphic: str, points: "NDArray[Any]", grid: Grid) -> Box:
    """Take (column, row), counted from the corner of the first pixel, to millimetres."""
    planes = {
        grid.planes[uid] for child in below(item) for uid in references(child) if uid in grid.planes
    }
    if len(planes) != 1:
        raise IntegrityFault("a stored report marks an image that is not of its series")
    if graphic == "CIRCLE":  # its centre, and a point on it
        reach = float(np.linalg.norm(points[1] - points[0]))
        points = np.stack([points[0] - reach, points[0] + reach])
    low, high = points.min(axis=0) - 0.5, points.max(axis=0) - 0.5
    plane = planes.pop()
    corners = [[plane, y, x, 1.0] for y in (low[1], high[1]) for x in (low[0], high[0])]
    return around((np.array(corners) @ grid.affine.T)[:, :AXES])


def _thick(box: Box, grid: Grid) -> Box:
    """Give what was drawn on planes the thickness of a plane."""
    reach = np.abs(grid.affine[:AXES, 0]) / 2
    return around(np.stack([np.array(box.low) - reach, np.array(box.high) + reach]))
