"""The bins of Dice and HD95: fixed here, so that hospitals' counts can be added."""

from bisect import bisect_right

# Bin i is [edge i-1, edge i); the first begins at 0, the last of Dice ends with 1 and holds it.
DICE_EDGES = tuple(round(0.05 * i, 10) for i in range(1, 20))
HD95_EDGES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)  # mm
# How far two products' Dice of one patient may be apart, in thousandths: bins on both sides of "not
# at all", finer where differences are small, for a rank is all that is made of them.
DIFFERENCE_EDGES = (1, 3, 5, 8, 12, 18, 25, 35, 50, 70, 100, 150, 250, 500)
DIFFERENCE_BINS = 2 * len(DIFFERENCE_EDGES) + 1


def difference_bin(thousandths: int) -> int:
    """Return the bin of a difference of Dice; the middle one holds those without any."""
    away = bisect_right(DIFFERENCE_EDGES, abs(thousandths))
    return len(DIFFERENCE_EDGES) + (away if thousandths > 0 else -away)
