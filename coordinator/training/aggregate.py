"""The weighted mean of hospitals' updates, folded in as they come: one running sum."""

import math

import numpy as np
import numpy.typing as npt

from protos.tensors import (
    Buffer,
    MalformedTensors,
    Schema,
    SchemaMismatch,
    chunks,
    decode,
    encode_header,
)


class UnusableUpdate(ValueError):
    """An update cannot be part of the mean; its sum is as if it had never come."""


class RunningMean:
    """sum(weight x update) and sum(weight), in float64: twice a float32 model, however many sites.

    Updates are the gateways' deltas. The order of arrival moves the result by rounding in float64
    only, far below the wire's float32.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._sums: dict[str, npt.NDArray[np.float64]] = {
            name: np.zeros(spec.count) for name, spec in schema.items()
        }
        self.total_weight = 0.0
        self.updates = 0

    def add(self, update: Buffer, weight: float) -> None:
        """Fold one update in, wholly or (UnusableUpdate) not at all."""
        if not (math.isfinite(weight) and weight > 0):
            raise UnusableUpdate("an update's weight is a positive number")
        try:
            tensors = decode(update, self._schema)
        except (SchemaMismatch, MalformedTensors) as fault:
            raise UnusableUpdate(f"an update is not of the job's schema: {fault}") from fault
        pieces = [(name, part) for name in self._schema for part in self._parts(name)]
        if not all(np.isfinite(tensors.flat(name)[part]).all() for name, part in pieces):
            raise UnusableUpdate("an update holds a value that is not finite")
        for name, part in pieces:
            self._sums[name][part] += weight * tensors.flat(name)[part].astype(np.float64)
        self.total_weight += weight
        self.updates += 1

    def applied_to(self, weights: Buffer) -> bytes:
        """Return the weights moved by the mean update, as the next round's safetensors file."""
        if self.updates == 0:
            raise UnusableUpdate("no update has come: there is no mean")
        old = decode(weights, self._schema)
        out = bytearray(encode_header(self._schema))
        for name in sorted(self._schema):
            dtype = self._schema[name].numpy
            for part in self._parts(name):
                moved = old.flat(name)[part] + self._sums[name][part] / self.total_weight
                with np.errstate(over="ignore"):
                    wire = moved.astype(dtype)
                if not np.isfinite(wire).all():
                    raise UnusableUpdate(f"the mean leaves the range of {name}'s type")
                out += wire.tobytes()
        return bytes(out)

    def _parts(self, name: str) -> list[slice]:
        return list(chunks(self._schema[name].count))
