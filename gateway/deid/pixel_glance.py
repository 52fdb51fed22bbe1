"""A first glance at a grey image: lines of thin strokes at the highest value or the lowest.

So devices and workstations write. Anatomy seldom has more than a few pixels at its very maximum,
and saturated metal or air lies in patches, so that most images cost a pass or two. Where a font's
edges were smoothed, few pixels are the extreme itself: then what is near it is looked at too, as
far as it is as thin as a stroke.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gateway.deid.pixel_frames import Values

FEWEST, MOST = 24, 0.06  # pixels of a line of text; of the area, where it is saturated
SMALLEST, TALLEST = 6, 80  # rows of a line
LETTERS = 4  # side by side
THIN, DENSE = 0.11, 0.7  # of a line's box
SHORT_RUN, LONG_RUN, STROKE = 1.12, 9.0, 0.22  # pixels in a row; a stroke by the line's height
WIDE = 1.6  # a line by its height
LETTER_WIDE = 2.2  # a letter by the line's height
BAND = 64  # rows looked at together
UPRIGHT = 0.3  # of its pixels have one of the same value below: noise has not
NEAR, APART = 0.4, 0.6  # of all values there are: as far from the extreme is a stroke, is none
FEW = 0.03  # of the area is near the extreme, where something is written
REACH = 5  # pixels to either side: a stroke is no wider


def may_be_written_on(values: Values) -> bool:
    """Say whether a line of text may stand in it: then it is worth the seconds of reading it."""
    low, high = int(values.min()), int(values.max())
    if any(
        _is_worth_it(values, extreme) and _has_line(values == extreme) for extreme in (high, low)
    ):
        return True
    return _has_strokes(values, high, low) or _has_strokes(values, low, high)


def _is_worth_it(values: Values, extreme: object) -> bool:
    """Say whether enough has that value, and enough of it one above the other, for a line.

    In bands, so that the answer for most images needs no memory that must be asked for.
    """
    count = upright = 0
    for top in range(0, len(values), BAND):
        band = values[top : top + BAND + 1] == extreme
        count += int(np.count_nonzero(band[:BAND]))
        upright += int(np.count_nonzero(band[1:] & band[:-1]))
        if count > values.size * MOST:
            return False
    return count >= FEWEST and upright >= UPRIGHT * FEWEST


def _has_strokes(values: Values, extreme: int, other: int) -> bool:
    """Say whether a line stands in what is near the extreme, between what is not."""
    to, past = (extreme + int(share * (other - extreme)) for share in (NEAR, APART))
    near = values >= to if extreme > other else values <= to
    if not FEWEST <= np.count_nonzero(near) <= near.size * FEW:
        return False
    apart = values < past if extreme > other else values > past
    left, right = np.zeros_like(near), np.zeros_like(near)
    for far in range(1, REACH + 1):
        left[:, far:] |= apart[:, :-far]
        right[:, :-far] |= apart[:, far:]
    return _has_line(near & left & right)


def _has_line(mask: NDArray[np.bool_]) -> bool:
    ys, xs = np.nonzero(mask)
    width = mask.shape[1]
    # In strips too: what is bright beside a line would tie it to what is above and below.
    for left, right in (
        (0, width // 2),
        (width // 2, width),
        (width // 4, 3 * width // 4),
        (0, width),
    ):
        here = (xs >= left) & (xs < right)
        if any(_is_line(mask[box]) for box in _lines(ys[here], xs[here], mask.shape)):
            return True
    return False


def _lines(
    ys: NDArray[np.intp], xs: NDArray[np.intp], shape: tuple[int, ...]
) -> Iterator[tuple[slice, slice]]:
    """Yield boxes that hold at least four marks side by side; `ys` is in order."""
    for top, bottom in _stretches(np.bincount(ys, minlength=shape[0]) > 0):
        height = bottom - top
        if not SMALLEST <= height <= TALLEST:
            continue
        first, last = np.searchsorted(ys, (top, bottom))
        if last - first < FEWEST:
            continue
        marks = _stretches(np.bincount(xs[first:last], minlength=shape[1]) > 0)
        apart = max(10.0, 1.5 * height)
        gaps = [n for n in range(1, len(marks)) if marks[n][0] - marks[n - 1][1] > apart]
        for begin, end in zip([0, *gaps], [*gaps, len(marks)], strict=True):
            some = marks[begin:end]
            widest = max(right - left for left, right in some) if some else 0
            if len(some) >= LETTERS and widest <= LETTER_WIDE * height + SMALLEST:
                yield slice(top, bottom), slice(some[0][0], some[-1][1])


def _stretches(on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(on.view(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _is_line(box: NDArray[np.bool_]) -> bool:
    """Tell strokes from patches, and from noise."""
    height, width = box.shape
    count = int(np.count_nonzero(box))
    if count < FEWEST or width < max(FEWEST, WIDE * height):
        return False
    if not THIN <= count / box.size <= DENSE:
        return False
    runs = np.count_nonzero(box[:, 1:] & ~box[:, :-1]) + np.count_nonzero(box[:, 0])
    longest = min(LONG_RUN, max(3.2, STROKE * height))
    upright = np.count_nonzero(box[1:] & box[:-1])
    return bool(SHORT_RUN <= count / runs <= longest and upright >= UPRIGHT * count)
