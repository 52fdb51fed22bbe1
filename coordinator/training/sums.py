"""A round's arithmetic, file to file: a piece of one tensor in memory at a time.

Memory stays within some tens of megabytes whatever the model and the number of hospitals: a mean
needs one update's piece at a time; a median as many as there are updates, and shorter ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coordinator.training.aggregate import (
    Piece,
    UnusableUpdate,
    adapted,
    mean,
    ordered,
    remembered,
    weight_of,
)
from coordinator.training.on_disk import OnDisk
from coordinator.training.server_state import ServerState, as_wire, server_state
from protos.tensors import MalformedTensors, Schema, SchemaMismatch, chunks, encode_header
from protos.training import TrainingPlan

PIECE_VALUES = 1 << 20  # 8 MiB in float64
TILE_VALUES = 1 << 22  # of all updates together, where they are looked at side by side
Together = Callable[[str, slice], Piece]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it lies on disk, and what the server remembers beside it."""

    weights: Path
    state: Path | None = None


def fold(
    plan: TrainingPlan,
    before: Model,
    updates: Sequence[tuple[Path, float]],
    after: Model,
    job_id: str = "",
) -> None:
    """Write the next model, and the server's next state where the strategy has one."""
    if not updates:
        raise UnusableUpdate("no update has come: there is nothing to add")
    model = OnDisk(before.weights)
    together = _together(plan, model.schema, updates)
    at_once = TILE_VALUES // len(updates) if plan.sees_each_update else PIECE_VALUES
    remembering = (
        server_state(model.schema, before.state, after.state, job_id)
        if plan.is_adaptive and after.state is not None
        else nullcontext(None)
    )
    with after.weights.open("wb") as out, remembering as state:
        out.write(encode_header(model.schema))
        for name in sorted(model.schema):
            for part in chunks(model.schema[name].count, max(1024, at_once)):
                delta = together(name, part)
                step = delta if state is None else _adapted(state, name, part, delta, plan)
                out.write(as_wire(model.piece(name, part) + step, model.schema[name], name))


def is_usable(weights: Path, update: Path) -> bool:
    """Say whether an update has exactly the model's tensors, all finite."""
    try:
        found = OnDisk(update, OnDisk(weights).schema)
    except (MalformedTensors, SchemaMismatch, OSError):
        return False
    return all(
        bool(np.isfinite(found.piece(name, part)).all())
        for name, spec in found.schema.items()
        for part in chunks(spec.count, PIECE_VALUES)
    )


def _together(
    plan: TrainingPlan, schema: Schema, updates: Sequence[tuple[Path, float]]
) -> Together:
    """Return what makes one piece of many: by the plan's own rule."""
    weights = [weight_of(weight, plan) for _, weight in updates]
    try:
        opened = [OnDisk(path, schema) for path, _ in updates]
    except (SchemaMismatch, MalformedTensors) as fault:
        raise UnusableUpdate(f"an update is not of the job's schema: {fault}") from fault

    def together(name: str, part: slice) -> Piece:
        pieces: Iterator[Piece] = (update.piece(name, part) for update in opened)
        return ordered(pieces, plan) if plan.sees_each_update else mean(pieces, weights)

    return together


def _adapted(state: ServerState, name: str, part: slice, delta: Piece, plan: TrainingPlan) -> Piece:
    moments = remembered(delta, state.moments(name, part, plan), plan)
    state.keep(name, part, moments)
    return adapted(moments, plan)
