"""What was found in a series, and what it means for each of its slices, now and later."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from gateway.deid.face_cuts import Cut
from gateway.deid.face_finding import Face, find
from gateway.deid.face_planes import Plane, Points
from gateway.deid.face_volume import Mask, NoVolume, Survey

MARGIN = 4.0  # mm beyond what was seen
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

    def mask(self, plane: Plane, frame: str) -> Mask | None:
        """Return the pixels to be replaced, None for none; NotLikeTheRest where none can say."""
        low, high = plane.corners.min(axis=0), plane.corners.max(axis=0)
        beyond = max(float((self.low - low).max()), float((high - self.high).max()))
        if frame != self.frame or beyond > MARGIN:
            raise NotLikeTheRest
        if self.face is None:
            return None
        masks = [mask for cut in self.face.cuts if (mask := cut.mask(plane)) is not None]
        return np.logical_or.reduce(masks) if masks else None

    def as_json(self) -> str:
        """Write it down: no more than the cleaned slices themselves show."""
        document: dict[str, Any] = {
            "found": self.found,
            "frame": self.frame,
            "low": list(self.low),
            "high": list(self.high),
        }
        if self.face is not None:
            document |= {"cuts": [cut.told() for cut in self.face.cuts], "air": self.face.air}
        return json.dumps(document)

    @classmethod
    def of_json(cls, text: str) -> "Region":
        told = json.loads(text)
        face = None
        if "cuts" in told:
            face = Face(tuple(map(Cut.of_told, told["cuts"])), float(told["air"]))
        return cls(
            found=Found(told["found"]),
            frame=told["frame"],
            low=np.array(told["low"]),
            high=np.array(told["high"]),
            face=face,
        )


def region_of(survey: Survey, *, is_ct: bool, sure: bool, with_ears: bool = False) -> Region:
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
    face = find(volume, is_ct=is_ct, sure=sure, with_ears=with_ears)
    if face is None:
        return Region(Found.NO_FACE, frame, low, high)
    return Region(Found.FACE, frame, low, high, face)
