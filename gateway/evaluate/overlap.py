"""Masks against reference masks: Dice and the 95th percentile of surface distances, in bins."""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from protos.overlap import DICE_EDGES, HD95_EDGES

Mask = npt.NDArray[np.bool_]


def dice(product: Mask, reference: Mask) -> float:
    """Return 2 |A n B| / (|A| + |B|); 1 where both are empty: nothing was there, nothing found."""
    size = int(product.sum()) + int(reference.sum())
    return 1.0 if size == 0 else 2 * int((product & reference).sum()) / size


def hd95(product: Mask, reference: Mask, spacing: tuple[float, ...]) -> float | None:
    """Return the 95th percentile of distances between surfaces, both ways together, in mm.

    None where either mask is empty: there is no surface to be far from.
    """
    if not product.any() or not reference.any():
        return None
    from scipy.ndimage import distance_transform_edt

    surfaces = [_surface(mask) for mask in (product, reference)]
    away = [distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    distances = np.concatenate((away[1][surfaces[0]], away[0][surfaces[1]]))
    return float(np.percentile(distances, 95))


def dice_counts(values: Iterable[float]) -> tuple[int, ...]:
    return _counts(values, DICE_EDGES)


def hd95_counts(values: Iterable[float]) -> tuple[int, ...]:
    return _counts(values, HD95_EDGES)


def _surface(mask: Mask) -> Mask:
    from scipy.ndimage import binary_erosion

    # Beyond the image is background: a mask that touches the edge has a surface there.
    surface: Mask = mask & ~binary_erosion(mask, border_value=0)
    return surface


def _counts(values: Iterable[float], edges: tuple[float, ...]) -> tuple[int, ...]:
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_right(edges, value)] += 1
    return tuple(counts)
