"""What the server remembers from round to round (FedAdam, FedYogi): two moments of each value.

The state lies beside the model as a file of its own, named by its digest like the model, so that a
round that is folded twice after a crash gives the same bytes both times. The job's name is in it:
two jobs never share a state, so that one may drop its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from coordinator.training.aggregate import Moments, Piece, UnusableUpdate, first_moments
from coordinator.training.on_disk import OnDisk
from protos.tensors import Schema, TensorSpec, encode_header
from protos.training import TrainingPlan

FIRST, SECOND = "first.", "second."


class ServerState:
    """The state before a round, read by pieces, and the state after it, written by pieces."""

    def __init__(
        self, schema: Schema, before: Path | None, out: BinaryIO, job_id: str = ""
    ) -> None:
        self._prefixes = (f"{job_id}.{FIRST}", f"{job_id}.{SECOND}") if job_id else (FIRST, SECOND)
        self._schema = _moments_of(schema, self._prefixes)
        self._before = None if before is None else OnDisk(before, self._schema)
        self._out = out
        header = encode_header(self._schema)
        out.write(header)
        self._places, place = {}, len(header)
        for name in sorted(self._schema):
            self._places[name] = place
            place += self._schema[name].size_bytes

    def moments(self, name: str, part: slice, plan: TrainingPlan) -> Moments:
        if self._before is None:
            return first_moments(part.stop - part.start, plan)
        first, second = (self._before.piece(prefix + name, part) for prefix in self._prefixes)
        return first, second

    def keep(self, name: str, part: slice, moments: Moments) -> None:
        for prefix, values in zip(self._prefixes, moments, strict=True):
            spec = self._schema[prefix + name]
            self._out.seek(self._places[prefix + name] + part.start * spec.numpy.itemsize)
            self._out.write(as_wire(values, spec, name))


@contextmanager
def server_state(
    schema: Schema, before: Path | None, after: Path, job_id: str
) -> Iterator[ServerState]:
    with after.open("wb") as out:
        yield ServerState(schema, before, out, job_id)


def as_wire(values: Piece, spec: TensorSpec, name: str) -> bytes:
    """Return values in a tensor's own type; UnusableUpdate where one has no place in it."""
    with np.errstate(over="ignore"):
        wire = values.astype(spec.numpy)
    if not np.isfinite(wire).all():
        raise UnusableUpdate(f"the round's result leaves the range of {name}'s type")
    return wire.tobytes()


def _moments_of(schema: Schema, prefixes: tuple[str, str]) -> dict[str, TensorSpec]:
    """Return the state's form: single precision, for half of it would lose small squares."""
    return {
        prefix + name: TensorSpec(dtype="F64" if spec.dtype == "F64" else "F32", shape=spec.shape)
        for name, spec in schema.items()
        for prefix in prefixes
    }
