"""A smooth surface through skin: it follows the head, and nothing that stands out of it."""

import numpy as np

from gateway.deid.face_planes import Points
from gateway.deid.face_volume import STEP, Grid, Mask


def fit(surface: Grid, inside: Mask, z: Points, x: Points, rounds: int) -> tuple[Points, float]:
    """Fit a quadric, and again with little weight for what is far off; say how far the half is."""
    terms = np.stack([np.ones_like(x), x, z, x * x, x * z, z * z], axis=-1)
    weights = np.ones(int(inside.sum()))
    for _ in range(rounds):
        scale = np.sqrt(weights)[:, np.newaxis]
        solved = np.linalg.lstsq(terms[inside] * scale, surface[inside] * scale[:, 0], rcond=None)
        fitted = terms @ solved[0]
        off = np.abs(surface - fitted)[inside]
        middle = float(np.median(off))
        weights = 1 / (1 + (off / max(2 * middle, STEP)) ** 2)
    return fitted, middle
