"""Judge a series: what a reader or an algorithm would stumble over, and a grade A to D.

A: nothing found. B: something is missing that many uses do without. C: usable with care, a volume
has gaps or uneven slices. D: no volume can be built, or no image is there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median

from gateway.quality.slices import Slice

VOLUMES = frozenset({"CT", "MR", "PT"})
IMAGES = VOLUMES | {"CR", "DX", "MG", "US", "NM", "XA", "RF", "SC", "ES", "OP", "SM", "IO", "PX"}
SAME_PLACE_MM = 0.01
UNEVEN = 0.05  # of the usual distance
GAP = 1.5  # times the usual distance
SAME_DIRECTION = 1e-3
FEWEST_SLICES = 3  # below, spacing cannot be judged


class Grade(StrEnum):
    A = "A"
    B = "B"
    C = "C"
    D = "D"


@dataclass(frozen=True, slots=True)
class Finding:
    grade: Grade  # the best a series with this finding can have
    text: str


@dataclass(frozen=True, slots=True)
class Graded:
    grade: Grade
    findings: tuple[str, ...]


def grade(series: Sequence[Slice]) -> Graded:
    """Judge one series by its worst finding."""
    if not series:
        return Graded(Grade.D, ("no instance",))
    found = [finding for rule in RULES for finding in rule(series)]
    worst = max((finding.grade for finding in found), default=Grade.A)
    return Graded(worst, tuple(finding.text for finding in found))


def missing_tags(series: Sequence[Slice]) -> list[Finding]:
    """Name what is absent from some instance."""
    images = [s for s in series if s.modality in IMAGES]
    absent = {
        "no modality": (Grade.C, [s for s in series if not s.modality]),
        "no matrix size": (Grade.D, [s for s in images if not s.rows or not s.columns]),
        "no body part": (Grade.B, [s for s in images if not s.has_body_part]),
        "no pixel spacing": (
            Grade.C,
            [s for s in images if s.modality in VOLUMES and s.frames == 1 and not s.pixel_spacing],
        ),
        "no slice thickness": (
            Grade.B,
            [s for s in images if s.modality in VOLUMES and s.frames == 1 and not s.thickness],
        ),
        "no rescale to Hounsfield units": (
            Grade.C,
            [s for s in images if s.modality == "CT" and s.frames == 1 and not s.rescaled],
        ),
    }
    return [
        Finding(best, f"{text} in {len(those)} of {len(series)} instances")
        for text, (best, those) in absent.items()
        if those
    ]


def mixed_matrix(series: Sequence[Slice]) -> list[Finding]:
    """Find images of several sizes or spacings in one series."""
    slices = _volume(series)
    findings = []
    if len({(s.rows, s.columns) for s in slices}) > 1:
        findings.append(Finding(Grade.D, "images of several matrix sizes"))
    if len({s.pixel_spacing for s in slices}) > 1:
        findings.append(Finding(Grade.C, "images of several pixel spacings"))
    if len({s.thickness for s in slices}) > 1:
        findings.append(Finding(Grade.C, "slices of several thicknesses"))
    if len({s.frame_of_reference for s in slices}) > 1:
        findings.append(Finding(Grade.D, "several frames of reference"))
    return findings


def geometry(series: Sequence[Slice]) -> list[Finding]:
    """Judge orientation, and the distances along the normal of the slices."""
    slices = _volume(series)
    if not slices:
        return []
    placed = [s for s in slices if s.position is not None and s.orientation is not None]
    if len(placed) < len(slices):
        text = f"no position or orientation in {len(slices) - len(placed)} of {len(slices)} slices"
        return [Finding(Grade.D, text)]
    axes = placed[0].orientation or ()
    if any(_apart(s.orientation or (), axes) > SAME_DIRECTION for s in placed):
        return [Finding(Grade.D, "slices of several orientations")]
    normal = _cross(axes[:3], axes[3:])
    if abs(_dot(normal, normal) - 1) > SAME_DIRECTION * 10:
        return [Finding(Grade.D, "orientation vectors are not at right angles, or not of length 1")]
    return spacing(sorted(_dot(normal, s.position or ()) for s in placed))


def spacing(places: Sequence[float]) -> list[Finding]:
    """Judge the distances between neighbouring slices, in order."""
    steps = [after - before for before, after in pairwise(places)]
    doubled = sum(step < SAME_PLACE_MM for step in steps)
    if doubled:
        return [Finding(Grade.D, f"{doubled} slices share a position with another")]
    if len(places) < FEWEST_SLICES:
        return []
    usual = median(steps)
    gaps = sum(step > GAP * usual for step in steps)
    uneven = sum(UNEVEN * usual < abs(step - usual) for step in steps) - gaps
    findings = []
    if gaps:
        findings.append(Finding(Grade.C, f"{gaps} gaps between slices (usual {usual:.2f} mm)"))
    if uneven > 0:
        findings.append(Finding(Grade.C, f"{uneven} uneven distances (usual {usual:.2f} mm)"))
    return findings


def mixed_modalities(series: Sequence[Slice]) -> list[Finding]:
    """Find several modalities, which one series must not have (PS3.3 C.7.3.1)."""
    found = Counter(s.modality for s in series)
    return [Finding(Grade.D, f"{len(found)} modalities in one series")] if len(found) > 1 else []


RULES: tuple[Callable[[Sequence[Slice]], list[Finding]], ...] = (
    mixed_modalities,
    missing_tags,
    mixed_matrix,
    geometry,
)


def _volume(series: Sequence[Slice]) -> list[Slice]:
    """Return the single-frame slices that together should be a volume; localizers are not."""
    slices = [s for s in series if s.modality in VOLUMES and s.frames == 1 and not s.localizer]
    return slices if len(slices) > 1 else []


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _cross(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _apart(a: Sequence[float], b: Sequence[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
