"""Where the face is in a volume: by its shape alone, in front of and below the brain.

All lengths are shares of the head's own, so that a child's face is found as an adult's is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.deid.face_cuts import Cut
from gateway.deid.face_ears import ears
from gateway.deid.face_fit import fit
from gateway.deid.face_volume import STEP, Grid, Mask, Volume

SKIN_HU = -300.0
LEAST_HEAD, TRUNK = 1200.0, 33_000.0  # mm2 of a section: less is no head, more is a trunk
MOST, CAP = 0.8, 0.12  # of a section is one head, but for the top, where a holder is as large
CUT_OFF = 3500.0  # mm2 at the upper edge: the top of the head is not in the picture
HEADS = (95.0, 250.0)  # mm from brow to back, from a newborn's to the largest
THIN = 30.0  # mm: what is thinner (a holder, a table) does not count as head
# In heads' lengths: half the width of the nose, how far it stands out at least.
MIDDLE, NOSE = 0.063, 0.047
FALLS = 0.03
AS_FAR = 0.35  # of what stands out farthest: the nose is above the chin
# From the top of the head, or the tip of the nose, in heads' lengths.
BROW_BELOW_TOP, BROW_ABOVE_NOSE = 0.42, 0.33
CHIN_BELOW_TOP, CHIN_BELOW_NOSE = 1.30, 0.55
NOSE_BELOW_TOP, FOREHEAD = (0.48, 0.9), 0.3
ROOT_BELOW_BROW, RAMP = 0.13, 0.13  # where the nose begins, and how slowly it gets deep there
NODS = 0.12  # it may lie lower than the top of the head tells
NOSE_HIGH = 0.15
NOSE_SEEN = 0.95  # a picture that reaches as far below the top shows a nose
LOW_PICTURE = 0.35  # eyes or ears, and no nose
HALF_WIDTH, BACK = 0.36, 0.36
DEPTH_AT_BROW, DEPTH = 0.035, 0.10
SKIN = 0.021  # goes at least
FAR_OFF = 0.09  # a fit this bad has found no face


class NoFace(Exception):
    """No face can be made out; in words that name nobody."""


@dataclass(frozen=True, eq=False)
class Face:
    """What lies outside any of the cuts is taken away."""

    cuts: tuple[Cut, ...]
    air: float  # what takes its place, in the units of the volume


@dataclass(frozen=True, slots=True)
class _Head:
    top: float | None  # mm; None where it is not in the picture
    length: float
    middle: float  # x


@dataclass(frozen=True, slots=True)
class _Extent:
    brow: float  # z, as those below
    chin: float
    root: float | None  # of the nose; None where it is not in the picture


def find(volume: Volume, *, is_ct: bool, sure: bool, with_ears: bool = False) -> Face | None:
    """Find the face; None where it is not in the picture.

    `sure`: the header names the head. Else a volume that is a trunk in every section has no face.
    """
    seen = np.isfinite(volume.values)
    values = np.where(seen, volume.values, np.nanmin(volume.values) if seen.any() else 0)
    level = SKIN_HU if is_ct else _above_noise(values[seen])
    body = _body(values > level)
    areas = body.sum(axis=(1, 2)) * STEP**2
    sections = np.flatnonzero(areas > LEAST_HEAD)
    if not len(sections):
        raise NoFace("no head can be made out in it")
    if not sure and areas[sections].min() > TRUNK:
        return None
    head = _measured(volume, body, sections, areas, seen)
    front = _front(volume, body)
    extent = _extent_of_face(volume, head, front, sections)
    _require_one(volume, body, head, sections, extent)
    outside = seen & ~body
    air = float(np.median(values[outside])) if outside.any() else float(values.min())
    surface = _surface(volume, head, front, extent)
    cuts = [] if surface is None else [Cut.of(volume, surface, axis=1, across=0, outward=-1)]
    if with_ears:
        sides = {"brow": extent.brow, "middle": head.middle, "length": head.length}
        cuts += ears(volume, body, **sides)
    return Face(tuple(cuts), air) if cuts else None


def _above_noise(values: Grid) -> float:
    """Return a level between air and whatever gives a signal, however the coil shades it."""
    high = float(np.percentile(values, 99.0))
    counts, edges = np.histogram(values, bins=256, range=(float(values.min()), high))
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    first = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (first / below - (first[-1] - first) / above) ** 2
    between = float(centres[int(np.nanargmax(np.nan_to_num(apart[:-1])))])
    air = values[values < between]
    if not len(air):
        return between
    middle = float(np.median(air))
    spread = 1.4826 * float(np.median(np.abs(air - middle)))
    # Half way: what is dark in some sequence (bone, fat) shall not be taken for air.
    return min(between, max(middle + 6 * spread, middle + 0.35 * (between - middle)))


def _body(solid: Mask) -> Mask:
    """Return the largest connected part, its holes closed section by section."""
    from scipy import ndimage

    apart = ndimage.binary_opening(solid, iterations=1)  # sheets, tubes and straps let go
    parts, count = ndimage.label(apart if apart.any() else solid)
    if not count:
        return np.zeros_like(solid)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = parts == int(sizes.argmax())
    body: Mask = ndimage.binary_dilation(largest, iterations=2) & solid
    for section in body:
        ndimage.binary_fill_holes(section, output=section)
    return body


def _measured(
    volume: Volume, body: Mask, sections: NDArray[np.int64], areas: Grid, seen: Mask
) -> _Head:
    upper = int(sections[-1])
    highest = int(np.flatnonzero(seen.any(axis=(1, 2)))[-1])
    cut_off = areas[upper] > CUT_OFF and highest - upper <= 2  # noqa: PLR2004 - grid steps
    reach = round(110 / STEP)
    part = body[max(0, upper - reach) : upper + 1]
    thick = THIN / STEP
    deep = max(_extent(section.sum(axis=1), thick) for section in part) * STEP
    wide = max(_extent(section.sum(axis=0), thick) for section in part) * STEP
    length = min(deep, 1.4 * wide)  # a holder adds to one or the other
    if not HEADS[0] <= length <= HEADS[1]:
        raise NoFace("no head can be made out in it")
    across = part.sum(axis=(0, 1))
    middle = volume.low[0] + STEP * float(np.average(np.arange(len(across)), weights=across))
    return _Head(None if cut_off else volume.z(upper), length, float(middle))


def _extent(counts: NDArray[np.int64], least: float) -> int:
    found = np.flatnonzero(counts >= least)
    return int(found[-1] - found[0] + 1) if len(found) else 0


def _front(volume: Volume, body: Mask) -> Grid:
    """Return where one meets the body from the front, by z and x; NaN where one does not."""
    first = body.argmax(axis=1).astype(np.float32)
    front = np.float32(volume.low[1]) + np.float32(STEP) * (first - np.float32(0.5))
    return np.where(body.any(axis=1), front, np.float32(np.nan))


def _require_one(
    volume: Volume, body: Mask, head: _Head, sections: NDArray[np.int64], extent: _Extent
) -> None:
    """Refuse arms beside or above the head: what was measured is then something else."""
    from scipy import ndimage

    highest = volume.z(int(sections[-1])) - CAP * head.length
    for at in sections:
        if not extent.brow <= volume.z(int(at)) <= highest:
            continue
        sizes = np.bincount(ndimage.label(body[at])[0].ravel())[1:]
        if sizes.max() < MOST * sizes.sum():
            raise NoFace("something lies beside the head in it")


def _extent_of_face(
    volume: Volume, head: _Head, front: Grid, sections: NDArray[np.int64]
) -> _Extent:
    """Return the ends of the face, where in doubt more of it, and where the nose begins."""
    upper = volume.z(int(sections[-1]))
    top = upper if head.top is None else head.top
    nose = _nose(volume, head, front, top)
    brows = [top - (BROW_BELOW_TOP * head.length if head.top is not None else 0)]
    chins = [top - CHIN_BELOW_TOP * head.length]
    if nose is None:
        return _Extent(brows[0], min(chins), _root_unseen(volume, head, brows[0], sections))
    brows.append(nose + BROW_ABOVE_NOSE * head.length)
    chins.append(nose - CHIN_BELOW_NOSE * head.length)
    return _Extent(max(brows), min(chins), brows[-1] - ROOT_BELOW_BROW * head.length)


def _root_unseen(
    volume: Volume, head: _Head, brow: float, sections: NDArray[np.int64]
) -> float | None:
    """Guess by the top of the head alone; None where the picture ends above a nose."""
    lowest = volume.z(int(sections[0]))
    if head.top is not None and lowest > head.top - NOSE_SEEN * head.length:
        return brow - (ROOT_BELOW_BROW + NODS) * head.length
    # A nose should be there: whoever lies the other way round than the header says has none.
    if head.top is not None or STEP * len(sections) > LOW_PICTURE * head.length:
        raise NoFace("no face can be made out in it")
    return None


def _nose(volume: Volume, head: _Head, front: Grid, top: float) -> float | None:
    """Return the height at which the middle stands out farthest before its sides."""
    x = np.abs(volume.low[0] + STEP * np.arange(front.shape[1]) - head.middle) / head.length
    z = volume.low[2] + STEP * np.arange(front.shape[0])
    above, below = (top - share * head.length for share in NOSE_BELOW_TOP)
    above = top if head.top is None else above
    looked = (z <= (top if head.top is None else top - FOREHEAD * head.length)) & (z >= below)
    within, beside = x <= MIDDLE, (x >= 2 * MIDDLE) & (x <= 3 * MIDDLE)
    looked &= np.isfinite(front[:, within]).all(axis=1)
    looked &= np.isfinite(front[:, beside]).any(axis=1)
    if not looked.any() or not beside.any():
        return None
    out = np.nanmean(front[looked][:, beside], axis=1) - front[looked][:, within].min(axis=1)
    places = z[looked]
    tips = [at for at in range(len(out)) if places[at] <= above and _is_tip(out, at, head.length)]
    if not tips:
        return None
    # Without the top of the head the chin may be in sight too, and stand out farther.
    nose = tips[-1] if head.top is None else max(tips, key=lambda at: out[at])
    return float(places[nose])


def _is_tip(out: Grid, at: int, length: float) -> bool:
    """Tell a nose or a chin from a forehead, where nothing comes and goes."""
    near = out[max(0, at - 4) : at + 5]
    falls = out[at] - out[at:].min()  # towards the brow; below it the picture may end
    least = max(NOSE * length, AS_FAR * out.max())
    return bool(out[at] == near.max() and out[at] >= least and falls >= FALLS * length)


def _surface(volume: Volume, head: _Head, front: Grid, extent: _Extent) -> Grid | None:
    """Lay a smooth surface behind the skin: it follows the head, and no feature of the face."""
    x = volume.low[0] + STEP * np.arange(front.shape[1]) - head.middle
    z = volume.low[2] + STEP * np.arange(front.shape[0])
    length = head.length
    inside = ((z <= extent.brow) & (z >= extent.chin))[:, np.newaxis]
    inside = inside & (np.abs(x) <= HALF_WIDTH * length)
    inside = inside & np.isfinite(front)
    if not inside.any():
        return None
    foremost = float(np.percentile(front[inside], 5))
    inside &= front <= foremost + BACK * length  # what lies farther back is neck
    height, beside = np.broadcast_arrays(z[:, np.newaxis] - extent.brow, x)
    fitted, off = fit(front, inside, height / length, beside / length, rounds=2)
    if off > FAR_OFF * length:
        raise NoFace("no face can be made out in it")
    near_brain = np.ones_like(height)  # 0: it is far, behind nose and jaw
    if extent.root is not None:
        above_root = height + extent.brow - extent.root
        near_brain = np.clip(0.5 + above_root / (RAMP * length), 0, 1)
    depth = length * (DEPTH + near_brain * (DEPTH_AT_BROW - DEPTH))
    cut = np.maximum(fitted + depth, front + SKIN * length)
    # Near the brain no deeper than the skin itself says, a nose's height more where it ends.
    most = depth + length * (SKIN + (1 - near_brain) * NOSE_HIGH)
    cut = np.where(near_brain > 0, np.minimum(cut, front + most), cut)
    return np.where(inside, cut, np.nan).astype(np.float32)
