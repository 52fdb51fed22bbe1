"""Writes boxes and masks as the judge outside reads them; arrays, NIfTI and DICOM SEG come in.

Plain files bound into a sandbox, beside `radfed_job`. NIfTI and SEG are taken apart in here, where
a vendor's file can harm nobody; outside only lengths of runs are read, on the case's own grid.
"""

import csv
import gzip
import os
import struct
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MAGIC = b"RADFEDM1"
HEADER = ("case", "score", "x1", "y1", "z1", "x2", "y2", "z2")
NOTHING = ("",) * 7
AXES = 3
ALIGNED = 0.1  # of a voxel
NIFTI_BYTES = 352
NIFTI_KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


def write_boxes(path: str, found: dict[str, Any]) -> None:
    """Write one row for each box; a case in which nothing was marked has a row of its own."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADER)
        for name, boxes in found.items():
            for score, low, high in boxes:
                ends = (score, *low, *high)
                rows.writerow((name, *(repr(float(end)) for end in ends)))
            if len(boxes) == 0:
                rows.writerow((name, *NOTHING))


def write_masks(path: str, found: dict[str, Any], cases: Any) -> None:
    """Write one record for each mask: name, shape, affine, lengths of runs."""
    known = {case.name: case for case in cases}
    with open(path, "wb") as file:
        file.write(MAGIC)
        for name, given in found.items():
            shape, place = known[name].place() if name in known else ((0, 0, 0), np.eye(AXES + 1))
            mask, affine = _mask(given, shape, place)
            runs = runs_of(mask)
            spelt = str(name).encode("ascii", "replace")
            file.write(struct.pack("<H", len(spelt)) + spelt)
            ends = [float(value) for value in affine[:AXES].ravel()]
            file.write(struct.pack("<3I12dI", *mask.shape, *ends, len(runs)))
            file.write(runs.astype("<u4").tobytes())


def runs_of(mask: Array) -> Array:
    """Return lengths of runs in turn, the first of background, perhaps 0."""
    flat = np.concatenate(([False], mask.ravel(), [False]))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    if len(changes) == 0:
        return np.array([mask.size])
    ends = [0, *changes, mask.size] if changes[-1] != mask.size else [0, *changes]
    return np.diff(ends)


def _mask(given: Any, shape: tuple[int, int, int], place: Array) -> tuple[Array, Array]:
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        if path.endswith((".nii", ".nii.gz")):
            return turned(*read_nifti(path), place)
        return read_segmentation(path, shape, place)
    mask = np.asarray(given) != 0
    if mask.ndim != AXES:
        mask = mask.reshape((1,) * max(0, AXES - mask.ndim) + mask.shape[-AXES:])
    return mask, place


def read_nifti(path: str) -> tuple[Array, Array]:
    """Return a NIfTI-1 file's mask as (z, y, x), and the way to DICOM's millimetres.

    NIfTI's own axes run to the right and to the front: x and y change their sign.
    """
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        head, rest = file.read(NIFTI_BYTES), file.read()
    order: Any = "<" if struct.unpack_from("<i", head)[0] == 348 else ">"  # noqa: PLR2004 - sizeof_hdr
    dims = struct.unpack_from(f"{order}8h", head, 40)
    (kind,) = struct.unpack_from(f"{order}h", head, 70)
    steps = struct.unpack_from(f"{order}8f", head, 76)
    (offset,) = struct.unpack_from(f"{order}f", head, 108)
    qform, sform = struct.unpack_from(f"{order}2h", head, 252)
    x, y, z = (max(1, each) for each in (*dims[1 : dims[0] + 1], 1, 1)[:AXES])
    start = max(0, int(offset) - NIFTI_BYTES)
    values = np.frombuffer(rest, np.dtype(NIFTI_KINDS[kind]).newbyteorder(order), x * y * z, start)
    if sform > 0:
        rows = np.array(struct.unpack_from(f"{order}12f", head, 280)).reshape(AXES, 4)
    elif qform > 0:
        rows = _turned_by(struct.unpack_from(f"{order}6f", head, 256), steps)
    else:
        rows = np.hstack([np.diag(steps[1:4]), np.zeros((AXES, 1))])
    affine = np.eye(AXES + 1)
    affine[:AXES] = rows[:, [2, 1, 0, 3]]
    affine[:2] *= -1
    return values.reshape(z, y, x) != 0, affine


def _turned_by(quaternion: tuple[float, ...], steps: tuple[float, ...]) -> Array:
    """Return the first three rows of a NIfTI-1 qform (method 2 of the standard)."""
    b, c, d, *offset = quaternion
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    turn = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    flipped = -1.0 if steps[0] < 0 else 1.0
    scaled = turn * np.array([steps[1], steps[2], steps[3] * flipped])
    return np.hstack([scaled, np.array(offset).reshape(AXES, 1)])


def turned(mask: Array, affine: Array, place: Array) -> tuple[Array, Array]:
    """Flip and exchange axes until they run as the case's do; what lies askew stays as it is."""
    way = np.linalg.solve(place, affine)[:AXES, :AXES]
    order = np.abs(way).argmax(axis=1)
    if sorted(order) != [0, 1, 2] or np.abs(np.abs(way).sum() - AXES) > ALIGNED:
        return mask, affine
    step = np.eye(AXES + 1)[:, [*order, AXES]]
    mask = mask.transpose(order)
    for axis in range(AXES):
        if way[axis, order[axis]] < 0:
            mask = np.flip(mask, axis)
            step[:, AXES] += step[:, axis] * (mask.shape[axis] - 1)
            step[:, axis] *= -1
    return mask, affine @ step


def read_segmentation(path: str, shape: Any, place: Array) -> tuple[Array, Array]:
    """Lay all segments of a DICOM segmentation on the case's grid, frame by frame."""
    import pydicom

    found = pydicom.dcmread(path)
    frames = found.pixel_array.reshape(-1, int(found.Rows), int(found.Columns)) != 0
    mask = np.zeros(shape, bool)
    shared = found.SharedFunctionalGroupsSequence[0]
    for frame, drawn in zip(found.PerFrameFunctionalGroupsSequence, frames, strict=True):
        plane = _plane(frame, shared, place, mask.shape)
        if plane is None or drawn.shape != mask.shape[1:]:
            return frames, np.full((AXES + 1, AXES + 1), np.nan)  # it lies nowhere on the grid
        mask[plane] |= drawn
    return mask, place


def _plane(frame: Any, shared: Any, place: Array, shape: tuple[int, ...]) -> int | None:
    group = frame if "PlanePositionSequence" in frame else shared
    if "PlanePositionSequence" not in group:
        return 0 if shape[0] == 1 else None
    position = [*group.PlanePositionSequence[0].ImagePositionPatient, 1.0]
    z, y, x = np.linalg.solve(place, np.array(position, float))[:AXES]
    plane = round(float(z))
    fits = max(abs(z - plane), abs(y), abs(x)) <= ALIGNED and 0 <= plane < shape[0]
    return plane if fits else None
