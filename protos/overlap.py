"""The bins of Dice and HD95: fixed here, so that hospitals' counts can be added."""

# Bin i is [edge i-1, edge i); the first begins at 0, the last of Dice ends with 1 and holds it.
DICE_EDGES = tuple(round(0.05 * i, 10) for i in range(1, 20))
HD95_EDGES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)  # mm
