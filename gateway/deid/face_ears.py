"""Where the ears are: what stands out of the sides of a head, behind its middle."""

from collections.abc import Iterator

import numpy as np

from gateway.deid.face_cuts import Cut
from gateway.deid.face_fit import fit
from gateway.deid.face_volume import STEP, Grid, Mask, Volume

# In heads' lengths: from brow to jaw, before and behind the middle, from the midline at least.
ABOVE_BROW, BELOW_BROW = 0.08, 0.55
BEFORE, BEHIND = 0.20, 0.32
ASIDE = 0.22
INTO_SKIN = 0.012  # what goes of the side itself: no brain is as near


def ears(volume: Volume, body: Mask, *, brow: float, middle: float, length: float) -> Iterator[Cut]:
    """Lay a surface along each side that the ears stand out of."""
    z = volume.low[2] + STEP * np.arange(body.shape[0])
    heights = (z <= brow + ABOVE_BROW * length) & (z >= brow - BELOW_BROW * length)
    if not heights.any() or not body[heights].any():
        return
    y = volume.low[1] + STEP * np.arange(body.shape[1])
    centre = float(np.average(y, weights=body[heights].sum(axis=(0, 2))))
    depths = (y >= centre - BEFORE * length) & (y <= centre + BEHIND * length)
    for outward in (-1, 1):
        side = _side(volume, body, outward)
        inside = heights[:, np.newaxis] & depths & np.isfinite(side)
        inside &= (side - middle) * outward >= ASIDE * length
        if not inside.any():
            continue
        height, depth = np.broadcast_arrays(z[:, np.newaxis] - brow, y - centre)
        fitted, _ = fit(side, inside, height / length, depth / length, rounds=6)
        behind = fitted - outward * INTO_SKIN * length
        surface: Grid = np.where(inside, behind, np.nan).astype(np.float32)
        yield Cut.of(volume, surface, axis=0, across=1, outward=outward)


def _side(volume: Volume, body: Mask, outward: int) -> Grid:
    """Return where one meets the body from a side, by z and y; NaN where one does not."""
    seen = body if outward < 0 else body[:, :, ::-1]
    first = seen.argmax(axis=2).astype(np.float32) - np.float32(0.5)
    if outward > 0:
        first = body.shape[2] - 1 - first
    side = np.float32(volume.low[0]) + np.float32(STEP) * first
    return np.where(body.any(axis=2), side, np.float32(np.nan))
