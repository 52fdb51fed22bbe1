"""The output gate for a model update: exact schema, finite, clipped, noised, written anew."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from mmap import MADV_DONTNEED, mmap
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protos.tensors import (
    Buffer,
    MalformedTensors,
    Schema,
    SchemaMismatch,
    TensorFile,
    chunks,
    decode,
    encode_header,
)
from protos.update_price import leakage_bits, rho_per_patient

Normal = Callable[[int], npt.NDArray[np.float64]]


class Written(Protocol):
    """Where a released update goes, piece by piece."""

    def write(self, piece: bytes | memoryview, /) -> object: ...


PIECE = 1 << 16  # values: what is worked on at a time stays in the processor's cache
FORGET_AFTER = PIECE << 5
# Rounding to the wire's type may lengthen what was clipped to exactly C: clip that much shorter.
ROUNDING = {"F16": 2.0**-10, "F32": 2.0**-23, "F64": 2.0**-23}


class TensorCode(StrEnum):
    """Why an update stays in the hospital: a closed set the vendor may see."""

    MISSING = "update_missing"
    MALFORMED = "update_malformed"  # not the safetensors we read
    SCHEMA_MISMATCH = "schema_mismatch"
    NOT_FINITE = "not_finite"
    NO_LEAKAGE_BOUND = "no_leakage_bound"  # sigma = 0, and the hospital's policy wants one


@dataclass(frozen=True, slots=True)
class Withheld:
    """An update that stays; `tensor` is a name from the reviewed manifest, or empty."""

    code: TensorCode
    tensor: str = ""


@dataclass(frozen=True, slots=True)
class CheckedUpdate:
    """What may leave: the clipped, noised difference between the new weights and the old."""

    size: int
    sha256: bytes
    leakage_bits: float  # what it can have carried at the most; NO_BOUND without noise
    rho: float  # the privacy cost of one patient replaced (zCDP); infinite without noise
    norm: float  # before clipping; stays in the hospital
    clipped: bool
    noise_norm: float


def check_update(
    new: Buffer,
    old: Buffer,
    schema: Schema,
    clip: float,
    sigma: float,
    normal: Normal,
    out: Written,
) -> CheckedUpdate | Withheld:
    """Write the released form of an update, or say why there is none: then drop what was written.

    The norm is joint over all tensors and taken before anything is written; `normal` draws from
    the gate's own CSPRNG. Nothing of the vendor's file survives but the values: header, order,
    padding and metadata are ours. Two passes in pieces: files mapped as `new` and `old` stay on
    the disk, and memory does not grow with the model.
    """
    files = decoded(new, old, schema)
    if isinstance(files, Withheld):
        return files
    update, weights = files
    norm = joint_norm(update, weights)
    if isinstance(norm, Withheld):
        return norm
    slack = 1.0 - max(ROUNDING[spec.dtype] for spec in schema.values())
    scale = 1.0 if norm <= clip * slack else clip * slack / norm
    written = _write(update, weights, scale, sigma, normal, out)
    if written is None:
        return Withheld(TensorCode.NOT_FINITE)
    size, digest, noise_squares = written
    return CheckedUpdate(
        size=size,
        sha256=digest,
        leakage_bits=leakage_bits(clip, sigma),
        rho=rho_per_patient(clip, sigma),
        norm=norm,
        clipped=scale < 1.0,
        noise_norm=math.sqrt(noise_squares),
    )


def decoded(new: Buffer, old: Buffer, schema: Schema) -> tuple[TensorFile, TensorFile] | Withheld:
    """Open new and old weights of exactly the declared schema."""
    try:
        return decode(new, schema), decode(old, schema)
    except SchemaMismatch as fault:
        return Withheld(TensorCode.SCHEMA_MISMATCH, fault.tensor)
    except MalformedTensors:
        return Withheld(TensorCode.MALFORMED)


def joint_norm(update: TensorFile, weights: TensorFile) -> float | Withheld:
    """Return the norm of the difference over all tensors, before clipping."""
    squares = 0.0
    for name in sorted(update.schema):
        square = _sum_of_squares(update, weights, name)
        if not math.isfinite(square):
            return Withheld(TensorCode.NOT_FINITE, name)
        squares += square
    return math.sqrt(squares)


def deltas(update: TensorFile, weights: TensorFile, name: str) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the difference piece by piece, in one place that each piece overwrites."""
    new, old = update.flat(name), weights.flat(name)
    place, passed = np.empty(min(PIECE, len(new))), 0
    for part in chunks(len(new), PIECE):
        delta = place[: part.stop - part.start]
        with np.errstate(all="ignore"):  # what overflows is caught as not finite
            np.subtract(new[part], old[part], out=delta)
        yield delta
        passed += len(delta)
        if passed % FORGET_AFTER == 0 or passed == len(new):
            _forget(update.raw)
            _forget(weights.raw)


def _forget(raw: memoryview) -> None:
    """Give back the pages of a mapped file: they are read again from the disk where needed."""
    mapped = raw.obj
    if isinstance(mapped, mmap):
        mapped.madvise(MADV_DONTNEED)


def _squares(values: npt.NDArray[np.float64]) -> float:
    # Not np.dot: BLAS wakes its threads for each piece, and they spin (measured: 4x the CPU).
    return float(np.einsum("i,i", values, values))


def _sum_of_squares(update: TensorFile, weights: TensorFile, name: str) -> float:
    total = 0.0
    with np.errstate(all="ignore"):
        for delta in deltas(update, weights, name):
            total += _squares(delta)
    return total


def _write(
    update: TensorFile,
    weights: TensorFile,
    scale: float,
    sigma: float,
    normal: Normal,
    out: Written,
) -> tuple[int, bytes, float] | None:
    """Write scale * delta + sigma * noise, a piece at a time; None when a value overflows."""
    schema, noise_squares = update.schema, 0.0
    header = encode_header(schema)
    digest, size = sha256(header), len(header)
    out.write(header)
    for name in sorted(schema):
        spec = schema[name]
        wire = np.empty(min(PIECE, spec.count), spec.numpy)
        for values in deltas(update, weights, name):
            np.multiply(values, scale, out=values)
            if sigma > 0:
                noise = normal(values.size)
                noise *= sigma
                noise_squares += _squares(noise)
                np.add(values, noise, out=values)
            leaving = wire[: values.size]
            with np.errstate(over="ignore"):
                # F64 leaves with float32's precision: noise hides what is coarser than its grain.
                leaving[:] = values.astype(np.float32) if spec.dtype == "F64" else values
            if not np.isfinite(leaving).all():
                return None
            piece = leaving.view(np.uint8).data
            digest.update(piece)
            out.write(piece)
            size += len(piece)
    return size, digest.digest(), noise_squares
