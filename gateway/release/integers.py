"""The output gate for an update that goes into a secure sum: whole numbers, clipped and noised."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from gateway.errors import IntegrityFault
from gateway.release.normal import SecureNormal
from gateway.release.tensors import (
    CheckedUpdate,
    Normal,
    Withheld,
    Written,
    decoded,
    deltas,
    joint_norm,
)
from protos.masks import KEY_BYTES, Keystream
from protos.sums import Grid, grid_of
from protos.tensors import Buffer, Schema, TensorFile
from protos.update_price import leakage_bits, rho_per_patient

WIRE = np.dtype("<i4")
Uniform = Callable[[int], npt.NDArray[np.float64]]


class SecureUniform:
    """Draws from [0, 1): one key of the system's CSPRNG for each update, kept nowhere."""

    def __init__(self) -> None:
        self._stream = Keystream(os.urandom(KEY_BYTES))

    def __call__(self, count: int) -> npt.NDArray[np.float64]:
        return (self._stream(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Draws:
    """The gate's own randomness for one update; nothing draws from it twice."""

    normal: Normal = field(default_factory=SecureNormal)
    uniform: Uniform = field(default_factory=SecureUniform)


def check_integers(
    new: Buffer,
    old: Buffer,
    schema: Schema,
    clip: float,
    sigma: float,
    cells: Sequence[int],
    draws: Draws,
    out: Written,
) -> CheckedUpdate | Withheld:
    """Write an update as whole numbers and behind it exact counts, or say why there is none.

    Clipped jointly, rounded at random so that the mean stays, its norm checked again on the whole
    numbers, then noised. The noise is a Gaussian rounded to whole numbers: added to a whole number
    that is the Gaussian mechanism and a rounding of its output, so that its bounds hold as they
    stand (ADR 176).
    """
    grid = grid_of(clip, sigma, sum(spec.count for spec in schema.values()))
    writing = _Writing(out, grid)
    norm, clipped, noise_squares = 0.0, False, 0.0
    if schema:
        files = decoded(new, old, schema)
        if isinstance(files, Withheld):
            return files
        measured = joint_norm(*files)
        if isinstance(measured, Withheld):
            return measured
        factor, norm = _factor(measured, clip, grid, files[0]), measured
        clipped = factor < grid.scale
        noise_squares = _write(*files, factor, clip, sigma, grid, draws, writing)
    writing.add(np.asarray(cells, np.float64))
    return CheckedUpdate(
        size=writing.size,
        sha256=writing.digest.digest(),
        leakage_bits=leakage_bits(clip, sigma) if schema else 0.0,
        rho=rho_per_patient(clip, sigma) if schema else 0.0,
        norm=norm,
        clipped=clipped,
        noise_norm=math.sqrt(noise_squares) / grid.scale,
    )


def _factor(norm: float, clip: float, grid: Grid, update: TensorFile) -> float:
    """Return what a value is multiplied by, so that no rounding makes it longer than the clip."""
    count = sum(spec.count for spec in update.schema.values())
    short = clip * grid.scale - math.sqrt(count) - 1
    return grid.scale if norm * grid.scale <= short else short / norm


def _write(
    update: TensorFile,
    weights: TensorFile,
    factor: float,
    clip: float,
    sigma: float,
    grid: Grid,
    draws: Draws,
    writing: "_Writing",
) -> float:
    """Write the update's whole numbers; return the sum of the squares of the noise on them."""
    squares, noise_squares = 0, 0.0
    for name in sorted(update.schema):
        for delta in deltas(update, weights, name):
            whole = np.floor(delta * factor + draws.uniform(delta.size))
            exact = whole.astype(np.int64)
            squares += int(np.einsum("i,i", exact, exact))
            if sigma > 0:
                noise = np.rint(draws.normal(delta.size) * (sigma * grid.scale))
                noise_squares += float(np.einsum("i,i", noise, noise))
                whole += noise
            writing.add(whole)
    if squares > (clip * grid.scale) ** 2:
        raise IntegrityFault("a rounded update is longer than its clip: nothing was released")
    return noise_squares


class _Writing:
    def __init__(self, out: Written, grid: Grid) -> None:
        self._out = out
        self._beyond = 2 ** (grid.bits - 1)
        self.digest, self.size = sha256(), 0

    def add(self, whole: npt.NDArray[np.float64]) -> None:
        if whole.size and float(np.abs(whole).max()) >= self._beyond:  # grid_of promises it is not
            raise IntegrityFault("a number does not fit the sum's grid: nothing was released")
        piece = whole.astype(WIRE).view(np.uint8).data
        self.digest.update(piece)
        self._out.write(piece)
        self.size += len(piece)
