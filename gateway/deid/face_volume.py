"""A series' slices put together on a coarse grid that is straight in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway.deid.face_planes import Plane, Points

Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]
STEP = 2.0  # mm
COARSE = 2.0  # mm: what a pixel of a sketch measures at most, unless the image's own is larger
SAME_PLACE = 0.05  # mm
FEWEST, THINNEST = 4, 30.0  # slices, mm: less is no volume
WIDEST_STEP = 12.0  # mm from slice to slice
WIDEST_GAP = 21.0  # mm: a slice or two may be missing
POINTS_AT_MOST = 16_000_000
SKETCHES_AT_MOST = 4000
SKETCHED_AT_MOST = 1 << 28  # points of all sketches: 1 GiB, where an instance may take five
UPRIGHT = 0.7  # of a slice's normal along the body: nearer to axial than to anything else
TALLEST = 420.0  # mm from the top: a head and a neck


class NoVolume(Exception):
    """Slices that make no volume; in words that name nobody."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """A slice made coarse, in the units its header rescales to."""

    plane: Plane  # of the coarse pixels
    values: Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """Values at points `low + STEP * (x, y, z)`, as [z, y, x]; NaN where no slice was."""

    values: Grid
    low: Points

    def z(self, index: float) -> float:
        return float(self.low[2] + STEP * index)


def sketch(plane: Plane, values: NDArray[np.generic]) -> Sketch:
    """Make a slice coarse: means of whole blocks."""
    down, across = (
        max(1, int(COARSE / np.linalg.norm(step))) for step in (plane.by_row, plane.by_column)
    )
    rows, columns = plane.rows // down, plane.columns // across
    cut = values[: rows * down, : columns * across].astype(np.float32)
    means = cut.reshape(rows, down, columns, across).mean(axis=(1, 3))
    centre = (down - 1) / 2 * plane.by_row + (across - 1) / 2 * plane.by_column
    coarse = replace(
        plane,
        origin=plane.origin + centre,
        by_row=plane.by_row * down,
        by_column=plane.by_column * across,
        rows=rows,
        columns=columns,
    )
    return Sketch(coarse, means * np.float32(plane.slope) + np.float32(plane.intercept))


class Survey:
    """What is gathered of a series, slice by slice: coarse, and each place once."""

    def __init__(self) -> None:
        self.upright = True
        self.frames: set[str] = set()  # of reference
        self._low = np.full(3, np.inf)
        self._high = np.full(3, -np.inf)
        self._sketches: dict[tuple[float, ...], Sketch] = {}
        self._points = 0

    def add(self, plane: Plane, values: NDArray[np.generic], frame: str) -> None:
        """Take a slice into account; NoVolume once there are more than can be kept."""
        self.frames.add(frame)
        self.upright = self.upright and abs(float(plane.normal[2])) >= UPRIGHT
        self._low = np.minimum(self._low, plane.corners.min(axis=0))
        self._high = np.maximum(self._high, plane.corners.max(axis=0))
        # Echoes and phases share a place: the first one stands for all.
        place = np.concatenate([plane.origin, plane.by_column, plane.by_row])
        key = tuple(float(number) for number in np.round(place, 2))
        if key in self._sketches:
            return
        one = sketch(plane, values)
        self._points += one.values.size
        if len(self._sketches) >= SKETCHES_AT_MOST or self._points > SKETCHED_AT_MOST:
            raise NoVolume("its slices lie in too many places")
        self._sketches[key] = one

    def __bool__(self) -> bool:
        return bool(self._sketches)

    @property
    def box(self) -> tuple[Points, Points]:
        """Return the corners of the box, straight in the patient, that holds all slices."""
        return self._low, self._high

    def volume(self) -> Volume:
        """Put the largest stack of parallel slices together; NoVolume where there is none."""
        stack = _largest(list(self._sketches.values()))
        normal = stack[0].plane.normal
        stack = sorted(stack, key=lambda one: float(one.plane.origin @ normal))
        places = np.array([one.plane.origin @ normal for one in stack])
        distinct = np.concatenate([[True], np.diff(places) > SAME_PLACE])
        stack = [one for one, first in zip(stack, distinct, strict=True) if first]
        places = places[distinct]
        if len(stack) < FEWEST or places[-1] - places[0] < THINNEST:
            raise NoVolume("its slices are too few, or too close to each other, for a volume")
        steps = np.diff(places)
        usual = float(np.median(steps))
        if usual > WIDEST_STEP or steps.max() > max(WIDEST_GAP, 3.5 * usual):
            raise NoVolume("slices of it are missing, or lie too far apart")
        return _straight(stack, places, normal)


def _largest(sketches: Sequence[Sketch]) -> list[Sketch]:
    stacks: list[list[Sketch]] = []
    for one in sketches:
        for stack in stacks:
            if stack[0].plane.is_like(one.plane):
                stack.append(one)
                break
        else:
            stacks.append([one])
    return max(stacks, key=len, default=[])


def _straight(stack: Sequence[Sketch], places: Points, normal: Points) -> Volume:
    """Interpolate between slices; where each begins may wander (a tilted gantry's do)."""
    from scipy.ndimage import map_coordinates

    corners = np.concatenate([one.plane.corners for one in stack])
    low, high = corners.min(axis=0), corners.max(axis=0)
    low[2] = max(low[2], high[2] - TALLEST)
    shape = np.ceil((high - low) / STEP).astype(int) + 1  # x, y, z
    if shape.prod() > POINTS_AT_MOST:
        raise NoVolume("its slices span more than a body")
    values = np.stack([one.values for one in stack])
    origins = np.stack([one.plane.origin for one in stack])
    plane = stack[0].plane
    across, down = (step / (step @ step) for step in (plane.by_column, plane.by_row))
    x, y = np.meshgrid(*(low[i] + STEP * np.arange(shape[i]) for i in (0, 1)))
    out = np.empty((shape[2], shape[1], shape[0]), np.float32)
    half = float(np.median(np.diff(places))) / 2
    for at in range(shape[2]):
        points = np.stack([x, y, np.full_like(x, low[2] + STEP * at)], axis=-1)
        place = points @ normal
        number = np.interp(place, places, np.arange(len(places)))
        start = np.stack([np.interp(place, places, origins[:, i]) for i in range(3)], axis=-1)
        offset = points - start
        coordinates = np.stack([number, offset @ down, offset @ across])
        found = map_coordinates(values, coordinates, order=1, cval=np.nan, output=np.float32)
        found[(place < places[0] - half) | (place > places[-1] + half)] = np.nan
        out[at] = found
    return Volume(out, low)
