"""A round's sum, file to file: one update in memory at a time beside the running mean."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coordinator.training.aggregate import RunningMean
from protos.tensors import MalformedTensors, SchemaMismatch, chunks, decode, read_schema


def fold(weights: Path, updates: Sequence[tuple[Path, float]], into: Path) -> None:
    """Write the weights moved by the weighted mean of the updates, in the order given."""
    model = weights.read_bytes()
    mean = RunningMean(read_schema(model))
    for update, weight in updates:
        mean.add(update.read_bytes(), weight)
    into.write_bytes(mean.applied_to(model))


def is_usable(weights: Path, update: Path) -> bool:
    """Say whether an update has exactly the model's tensors, all finite."""
    try:
        tensors = decode(update.read_bytes(), read_schema(weights.read_bytes()))
    except (MalformedTensors, SchemaMismatch, OSError):
        return False
    return all(
        bool(np.isfinite(tensors.flat(name)[part]).all())
        for name, spec in tensors.schema.items()
        for part in chunks(spec.count)
    )
