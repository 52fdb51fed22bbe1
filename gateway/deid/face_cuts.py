"""Surfaces in a head: what lies outside one goes; what lies inside is not touched."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.deid.face_planes import Plane
from gateway.deid.face_volume import STEP, Grid, Volume

UP = 2  # z
NOTHING = -32768  # where nothing is taken away; tenths of mm elsewhere


@dataclass(frozen=True, eq=False)
class Cut:
    """A surface of places on `axis`, by z and by the axis `across`; NaN: nothing goes there."""

    axis: int
    across: int
    outward: int  # -1: what is less goes, 1: what is more
    surface: Grid  # [z, across]
    corner: tuple[float, float]  # `across` and z of the first value, mm

    @classmethod
    def of(cls, volume: Volume, surface: Grid, axis: int, across: int, outward: int) -> "Cut":
        """Make one of a surface over the whole volume, without what says nothing."""
        z, other = (np.flatnonzero(np.isfinite(surface).any(axis=along)) for along in (1, 0))
        corner = (float(volume.low[across] + STEP * other[0]), volume.z(int(z[0])))
        part = surface[z[0] : z[-1] + 1, other[0] : other[-1] + 1]
        return cls(axis, across, outward, part, corner)

    def mask(self, plane: Plane) -> NDArray[np.bool_] | None:
        """Return a slice's pixels that lie outside; None for none."""
        across = np.rint((plane.along(self.across) - np.float32(self.corner[0])) / np.float32(STEP))
        up = np.rint((plane.along(UP) - np.float32(self.corner[1])) / np.float32(STEP))
        rows, columns = self.surface.shape
        within = (across >= 0) & (across < columns) & (up >= 0) & (up < rows)
        if not within.any():
            return None
        places = self.surface[
            np.where(within, up, 0).astype(np.int32), np.where(within, across, 0).astype(np.int32)
        ]
        beyond = (plane.along(self.axis) - places) * self.outward  # NaN is never beyond
        gone: NDArray[np.bool_] = within & (beyond > 0)
        return gone if gone.any() else None

    def told(self) -> Mapping[str, Any]:
        tenths = np.where(np.isfinite(self.surface), np.nan_to_num(self.surface) * 10, NOTHING)
        packed = zlib.compress(tenths.round().astype("<i2").tobytes())
        return {
            "axis": self.axis,
            "across": self.across,
            "outward": self.outward,
            "corner": list(self.corner),
            "shape": list(self.surface.shape),
            "tenths": b64encode(packed).decode(),
        }

    @classmethod
    def of_told(cls, told: Mapping[str, Any]) -> "Cut":
        tenths = np.frombuffer(zlib.decompress(b64decode(told["tenths"])), "<i2")
        tenths = tenths.reshape(told["shape"])
        surface = np.where(tenths == NOTHING, np.nan, tenths / 10).astype(np.float32)
        x, z = told["corner"]
        return cls(int(told["axis"]), int(told["across"]), int(told["outward"]), surface, (x, z))
