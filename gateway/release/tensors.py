"""The output gate for a model update: exact schema, finite, clipped, noised, written anew."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from protos.tensors import (
    MalformedTensors,
    Schema,
    SchemaMismatch,
    TensorFile,
    chunks,
    decode,
    encode_header,
)

Normal = Callable[[int], npt.NDArray[np.float64]]
NO_BOUND = -1.0  # "no leakage bound"
# Rounding to the wire's type may lengthen what was clipped to exactly C: clip that much shorter.
ROUNDING = {"F16": 2.0**-10, "F32": 2.0**-23, "F64": 2.0**-50}


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

    payload: bytes  # safetensors, written here from parsed values
    sha256: bytes
    leakage_bits: float  # what it can have carried at the most; NO_BOUND without noise
    rho: float  # the privacy cost of one patient replaced (zCDP); infinite without noise
    norm: float  # before clipping; stays in the hospital
    clipped: bool
    noise_norm: float


def check_update(
    new: bytes,
    old: bytes,
    schema: Schema,
    clip: float,
    sigma: float,
    normal: Normal,
) -> CheckedUpdate | Withheld:
    """Return the released form of an update, or why there is none.

    The norm is joint over all tensors and taken before anything is written; `normal` draws from
    the gate's own CSPRNG. Nothing of the vendor's file survives but the values: header, order,
    padding and metadata are ours.
    """
    try:
        update, weights = decode(new, schema), decode(old, schema)
    except SchemaMismatch as fault:
        return Withheld(TensorCode.SCHEMA_MISMATCH, fault.tensor)
    except MalformedTensors:
        return Withheld(TensorCode.MALFORMED)
    squares = 0.0
    for name in sorted(schema):
        square = _sum_of_squares(update, weights, name)
        if not math.isfinite(square):
            return Withheld(TensorCode.NOT_FINITE, name)
        squares += square
    norm = math.sqrt(squares)
    slack = 1.0 - max(ROUNDING[spec.dtype] for spec in schema.values())
    scale = 1.0 if norm <= clip * slack else clip * slack / norm
    payload, noise_squares = _write(update, weights, scale, sigma, normal)
    if payload is None:
        return Withheld(TensorCode.NOT_FINITE)
    return CheckedUpdate(
        payload=payload,
        sha256=sha256(payload).digest(),
        leakage_bits=leakage_bits(clip, sigma),
        rho=rho_per_patient(clip, sigma),
        norm=norm,
        clipped=scale < 1.0,
        noise_norm=math.sqrt(noise_squares),
    )


def leakage_bits(clip: float, sigma: float) -> float:
    """Return the most bits one release can carry, whatever the vendor's code hid in it.

    A Gaussian channel whose input has norm at most C: n/2 log2(1 + C^2/(n sigma^2)) for any number
    n of values stays below C^2/(2 sigma^2 ln 2). What is computed from its output adds nothing.
    """
    return clip**2 / (2 * sigma**2 * math.log(2)) if sigma > 0 else NO_BOUND


def rho_per_patient(clip: float, sigma: float) -> float:
    """Return the zCDP cost of one patient replaced: a clipped update can move by 2C."""
    return 2 * clip**2 / sigma**2 if sigma > 0 else math.inf


def secure_normal(count: int) -> npt.NDArray[np.float64]:
    """Draw from N(0, 1) out of the system's CSPRNG (Box-Muller over 53-bit uniforms)."""
    pairs = (count + 1) // 2
    drawn = np.frombuffer(os.urandom(16 * pairs), "<u8") >> np.uint64(11)
    uniform = drawn.astype(np.float64)
    uniform += 0.5
    uniform *= 2.0**-53  # in (0, 1): the logarithm is finite
    radius, angle = np.log(uniform[:pairs]), uniform[pairs:]
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle *= 2.0 * np.pi
    normal = np.empty(2 * pairs)
    np.multiply(radius, np.cos(angle), out=normal[:pairs])
    np.multiply(radius, np.sin(angle), out=normal[pairs:])
    return normal[:count]


def _delta(update: TensorFile, weights: TensorFile, name: str, part: slice) -> npt.NDArray[Any]:
    new, old = update.flat(name)[part], weights.flat(name)[part]
    with np.errstate(all="ignore"):  # what overflows is caught as not finite
        delta: npt.NDArray[Any] = np.subtract(new, old, dtype=np.float64)
    return delta


def _squares(values: npt.NDArray[np.float64]) -> float:
    # Not np.dot: BLAS wakes its threads for each piece, and they spin (measured: 4x the CPU).
    return float(np.einsum("i,i", values, values))


def _sum_of_squares(update: TensorFile, weights: TensorFile, name: str) -> float:
    total = 0.0
    with np.errstate(all="ignore"):
        for part in chunks(update.schema[name].count):
            delta = _delta(update, weights, name, part)
            total += _squares(delta)
    return total


def _write(
    update: TensorFile, weights: TensorFile, scale: float, sigma: float, normal: Normal
) -> tuple[bytes | None, float]:
    """Encode scale * delta + sigma * noise, a piece at a time; None when a value overflows."""
    schema, noise_squares = update.schema, 0.0
    header = encode_header(schema)
    out = bytearray(len(header) + sum(spec.size_bytes for spec in schema.values()))
    out[: len(header)] = header
    begin = len(header)
    for name in sorted(schema):
        spec = schema[name]
        wire = np.frombuffer(out, spec.numpy, spec.count, begin)
        begin += spec.size_bytes
        for part in chunks(spec.count):
            values = _delta(update, weights, name, part)
            values *= scale
            if sigma > 0:
                noise = normal(values.size)
                noise_squares += sigma**2 * _squares(noise)
                values += sigma * noise
            with np.errstate(over="ignore"):
                wire[part] = values
            if not np.isfinite(wire[part]).all():
                return None, 0.0
    return bytes(out), noise_squares
