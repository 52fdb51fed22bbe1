"""What was found in a series, and what it means for each of its slices, now and later."""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.deid.face_finding import Face, find
from gateway.deid.face_planes import Plane, Points
from gateway.deid.face_volume import STEP, Grid, NoVolume, Survey

MARGIN = 4.0  # mm beyond what was seen
NOTHING = -32768  # where nothing is taken away; tenths of mm elsewhere
SLAB = 30.0  # mm: axial slices this close together show no face


class Found(StrEnum):
    FACE = "face"
    NO_FACE = "no face"  # none is in the picture
    SLAB = "slab"  # too little to make a face of


class NotLikeTheRest(Exception):
    """A slice that lies elsewhere than the series it belongs to."""


@dataclass(frozen=True, eq=False)
class Region:
    """What is taken away from every slice of a series, in its frame of reference."""

    found: Found
    frame: str  # the pseudonymous Frame of Reference UID
    low: Points  # the box that was seen
    high: Points
    face: Face | None = None
    corner: tuple[float, float] = (0.0, 0.0)  # x and z of the first value of `cut`

    def mask(self, plane: Plane, frame: str) -> NDArray[np.bool_] | None:
        """Return the pixels to be replaced, None for none; NotLikeTheRest where none can say."""
        low, high = plane.corners.min(axis=0), plane.corners.max(axis=0)
        beyond = max(float((self.low - low).max()), float((high - self.high).max()))
        if frame != self.frame or beyond > MARGIN:
            raise NotLikeTheRest
        if self.face is None:
            return None
        cut = self.face.cut
        across = np.rint((plane.along(0) - np.float32(self.corner[0])) / np.float32(STEP))
        up = np.rint((plane.along(2) - np.float32(self.corner[1])) / np.float32(STEP))
        within = (across >= 0) & (across < cut.shape[1]) & (up >= 0) & (up < cut.shape[0])
        if not within.any():
            return None
        columns = np.where(within, across, 0).astype(np.int32)
        rows = np.where(within, up, 0).astype(np.int32)
        with np.errstate(invalid="ignore"):
            gone: NDArray[np.bool_] = within & (plane.along(1) < cut[rows, columns])
        return gone if gone.any() else None

    def as_json(self) -> str:
        """Write it down: no more than the cleaned slices themselves show."""
        document: dict[str, Any] = {
            "found": self.found,
            "frame": self.frame,
            "low": list(self.low),
            "high": list(self.high),
            "corner": list(self.corner),
        }
        if self.face is not None:
            document |= {"cut": _packed(self.face.cut), "air": self.face.air}
            document["shape"] = list(self.face.cut.shape)
        return json.dumps(document)

    @classmethod
    def of_json(cls, text: str) -> "Region":
        told = json.loads(text)
        face = None
        if "cut" in told:
            face = Face(_unpacked(told["cut"], told["shape"]), float(told["air"]))
        return cls(
            found=Found(told["found"]),
            frame=told["frame"],
            low=np.array(told["low"]),
            high=np.array(told["high"]),
            face=face,
            corner=(told["corner"][0], told["corner"][1]),
        )


def region_of(survey: Survey, *, is_ct: bool, sure: bool) -> Region:
    """Decide about a series; NoVolume or NoFace where nobody can say what it shows."""
    if len(survey.frames) != 1:
        raise NoVolume("its slices lie in several frames of reference")
    (frame,) = survey.frames
    low, high = survey.box
    tall = float(high[2] - low[2])
    if survey.upright and tall <= SLAB:
        # Slices that come later may thicken it, as far as a slab may be thick.
        lift = np.array([0.0, 0.0, max(0.0, (SLAB - tall) / 2 - MARGIN)])
        return Region(Found.SLAB, frame, low - lift, high + lift)
    volume = survey.volume()
    face = find(volume, is_ct=is_ct, sure=sure)
    if face is None:
        return Region(Found.NO_FACE, frame, low, high)
    z, x = (np.flatnonzero(np.isfinite(face.cut).any(axis=axis)) for axis in (1, 0))
    cut = face.cut[z[0] : z[-1] + 1, x[0] : x[-1] + 1]
    corner = (float(volume.low[0] + STEP * x[0]), volume.z(int(z[0])))
    return Region(Found.FACE, frame, low, high, Face(cut, face.air), corner)


def _packed(cut: Grid) -> str:
    tenths = np.where(np.isfinite(cut), np.nan_to_num(cut) * 10, NOTHING).round().astype("<i2")
    return b64encode(zlib.compress(tenths.tobytes())).decode()


def _unpacked(text: str, shape: list[int]) -> Grid:
    tenths = np.frombuffer(zlib.decompress(b64decode(text)), "<i2").reshape(shape)
    return np.where(tenths == NOTHING, np.nan, tenths / 10).astype(np.float32)
