"""A head made of ellipsoids, in patient coordinates: skin, brain, and a face to be recognised by.

x grows to the left, y to the back, z to the head (mm); the middle of the head is the origin.
"""

from dataclasses import dataclass

import numpy as np

SKULL = (75.0, 95.0, 115.0)
BRAIN = (62.0, 80.0, 65.0), (0.0, 4.0, 36.0)  # radii, centre


def _ball(x, y, z, centre, radii):
    return sum(((v - c) / r) ** 2 for v, c, r in zip((x, y, z), centre, radii, strict=True)) <= 1


@dataclass(frozen=True)
class Head:
    """`scale` makes a child of it, `nod` lets it look up (degrees)."""

    scale: float = 1.0
    nod: float = 0.0
    shift: tuple = (0.0, 0.0, 0.0)
    nose: float = 1.0  # whose face it is
    eyes: float = 32.0
    chin: float = 1.0

    def _own(self, x, y, z):
        x, y, z = (v - s for v, s in zip((x, y, z), self.shift, strict=True))
        angle = np.deg2rad(self.nod)
        # Looking up: the face (-y) turns towards the top (+z).
        y, z = y * np.cos(angle) + -z * -np.sin(angle), z * np.cos(angle) - y * np.sin(angle) * -1
        return x / self.scale, y / self.scale, z / self.scale

    def tissue(self, x, y, z):
        """Say where there is any of it."""
        x, y, z = self._own(x, y, z)
        solid = _ball(x, y, z, (0, 0, 0), SKULL)
        solid |= _ball(x, y, z, (0, -78, -62), (46, 30, 52))  # jaw and cheeks
        solid |= _ball(x, y, z, (0, -98, -34), (15 * self.nose, 24 * self.nose, 26))
        solid |= _ball(x, y, z, (0, -96, -98), (20, 16 * self.chin, 15))
        solid |= (abs(x) < 55) & (abs(y - 15) < 48) & (z < -70) & (z > -175)  # neck
        for side in (-1, 1):
            solid |= _ball(x, y, z, (side * 79, 5, -15), (9, 17, 30))
        for side in (-1, 1):
            solid &= ~_ball(x, y, z, (side * self.eyes, -98, -12), (16, 18, 12))
        return solid

    def ear(self, x, y, z):
        """Say where an ear stands out by more than the thickness of skin."""
        tissue, (x, y, z) = self.tissue(x, y, z), self._own(x, y, z)
        shell = tuple(r + 3 for r in SKULL)
        aside = (abs(x) > 60) & (abs(y - 5) < 20) & (z > -50) & (z < 20)
        return tissue & aside & ~_ball(x, y, z, (0, 0, 0), shell)

    def brain(self, x, y, z):
        x, y, z = self._own(x, y, z)
        return _ball(x, y, z, BRAIN[1], BRAIN[0])

    def bone(self, x, y, z):
        x, y, z = self._own(x, y, z)
        outer = tuple(r - 6 for r in SKULL)
        inner = tuple(r - 12 for r in SKULL)
        around = _ball(x, y, z, (0, 0, 0), outer) & ~_ball(x, y, z, (0, 0, 0), inner)
        return around & (z > -10)

    def ct(self, x, y, z, seed=0):
        """Return Hounsfield units, with noise and a holder of the head below it."""
        noise = np.random.default_rng(seed).normal(0, 12, x.shape)
        values = np.where(self.tissue(x, y, z), 40.0, -1000.0)
        values = np.where(self.bone(x, y, z), 900.0, values)
        holder = (abs(np.hypot(x, y - 10) - 118) < 4) & (y > 40)
        return np.where(holder, -150.0, values) + noise

    def mr(self, x, y, z, seed=0):
        """Return T1-like units: bright fat, dark bone, shading by the coil, Rician-like noise."""
        rng = np.random.default_rng(seed)
        values = np.where(self.tissue(x, y, z), 620.0, 0.0)
        values = np.where(self.brain(x, y, z), 480.0, values)
        values = np.where(self.bone(x, y, z), 40.0, values)
        shade = 1 - 0.0018 * abs(y)
        return np.hypot(values * shade + rng.normal(0, 12, x.shape), rng.normal(0, 12, x.shape))


@dataclass(frozen=True)
class Stack:
    """How a scanner lays its slices: axes, first corner, steps."""

    across: tuple
    down: tuple
    corner: tuple
    step: tuple  # from slice to slice, as the table moves: not always along the normal
    count: int
    rows: int = 128
    columns: int = 128
    spacing: float = 2.0

    def origin(self, number):
        return np.array(self.corner) + number * np.array(self.step)

    def points(self, number):
        columns = np.arange(self.columns) * self.spacing
        rows = np.arange(self.rows)[:, np.newaxis] * self.spacing
        start = self.origin(number)
        return tuple(start[i] + columns * self.across[i] + rows * self.down[i] for i in range(3))


def axial(count=70, *, tilt=0.0, thick=4.0, low=-150.0, **grid):
    angle = np.deg2rad(tilt)
    down = (0.0, float(np.cos(angle)), float(np.sin(angle)))
    return Stack((1, 0, 0), down, (-128, -140, low), (0, 0, thick), count, **grid)


def sagittal(count=64, thick=3.0, **grid):
    return Stack((0, 1, 0), (0, 0, -1), (-96, -140, 125), (thick, 0, 0), count, **grid)


def coronal(count=80, thick=3.0, **grid):
    return Stack((1, 0, 0), (0, 0, -1), (-128, -140, 125), (0, thick, 0), count, **grid)
