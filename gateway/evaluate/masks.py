"""A product's masks: one file of runs, read without believing it.

The reader library inside the sandbox writes it of arrays, NIfTI or DICOM SEG: no decoder of those
runs out here. For each case: its name, the shape and affine of the grid the mask lies on, and the
lengths of runs of background and finding in turn, plane by plane and row by row.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.evaluate.overlap import SURFACE_AT_MOST, Mask, surface_size
from gateway.evaluate.predictions import Fault
from gateway.evaluate.statistics import NoStatistics, StatisticsCode
from protos.tensors import Buffer

MAGIC = b"RADFEDM1"
NAME_LENGTH = struct.Struct("<H")
PLACE = struct.Struct("<3I12dI")  # shape, affine by rows, runs
NAME_AT_MOST = 64
RUN_BYTES = 4
APART_AT_MOST = 0.1  # of a voxel, at any corner of the volume


@dataclass(frozen=True, slots=True)
class Packed:
    """One case's mask as it came."""

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]  # 3 x 4
    runs: npt.NDArray[np.uint32]


class _Cut(ValueError):
    """The file ends before what it announces."""


def read_masks(
    raw: Buffer, expected: Mapping[str, int], *, earlier: bool = False
) -> dict[str, Packed] | NoStatistics:
    """Read every case's record; a case nobody asked about, or one twice, spoils the whole file.

    In an `earlier` product's file a case may be of a patient who has withdrawn since.
    """
    found: dict[str, Packed] = {}
    at = len(MAGIC)
    if bytes(raw[:at]) != MAGIC:
        return NoStatistics(StatisticsCode.MALFORMED)
    try:
        while at < len(raw):
            name, packed, at = _record(raw, at)
            if name not in expected:
                if earlier:
                    continue
                return NoStatistics(StatisticsCode.UNKNOWN_CASE)
            if name in found:
                return NoStatistics(StatisticsCode.DUPLICATE_CASE)
            found[name] = packed
    except (_Cut, struct.error, UnicodeDecodeError):
        return NoStatistics(StatisticsCode.MALFORMED)
    return found


def _record(raw: Buffer, at: int) -> tuple[str, Packed, int]:
    (length,) = NAME_LENGTH.unpack_from(raw, at)
    at += NAME_LENGTH.size
    if length > NAME_AT_MOST:
        raise _Cut
    name = bytes(raw[at : at + length]).decode("ascii")
    z, y, x, *affine, count = PLACE.unpack_from(raw, at + length)
    at += length + PLACE.size
    if at + count * RUN_BYTES > len(raw):
        raise _Cut
    runs = np.frombuffer(raw, "<u4", count, at)
    placed = np.array(affine, np.float64).reshape(3, 4)
    return name, Packed((z, y, x), placed, runs), at + count * RUN_BYTES


def unpacked(
    packed: Packed, shape: tuple[int, int, int], affine: npt.NDArray[np.float64]
) -> Mask | Fault:
    """Return a mask on the grid of its case's images; nothing is laid out before that is known."""
    if packed.shape != shape or not _is_same_place(packed.affine, affine, shape):
        return Fault.MISPLACED
    voxels = shape[0] * shape[1] * shape[2]
    if len(packed.runs) > voxels + 1 or int(packed.runs.sum(dtype=np.uint64)) != voxels:
        return Fault.UNUSABLE
    values = np.arange(len(packed.runs)) % 2 == 1
    mask = np.repeat(values, packed.runs).reshape(shape)
    return Fault.UNUSABLE if surface_size(mask) > SURFACE_AT_MOST else mask


def _is_same_place(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> bool:
    """Compare where two grids put the corners of a volume; what is not a number is nowhere."""
    ends = [(0, length - 1) for length in shape]
    corners = np.array([(z, y, x, 1) for z in ends[0] for y in ends[1] for x in ends[2]], float)
    with np.errstate(all="ignore"):
        apart = np.abs(corners @ (one - other[:3]).T).max()
    finest = min(float(np.linalg.norm(other[:3, axis])) for axis in range(3))
    return bool(apart <= APART_AT_MOST * finest)
