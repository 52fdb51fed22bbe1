"""Masked updates to one mean, file to file: a piece of each in memory at a time."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from coordinator.training.secure_sum import SumBroken
from protos.job_manifest import JobManifest, Kind
from protos.masks import PIECE, Mask, signed, unpacked
from protos.scores import BINS
from protos.statistics_vector import length
from protos.sums import grid_of, width_of
from protos.tensors import Schema, encode_header
from protos.v1.job_pb2 import ScoreHistogram


@dataclass(frozen=True, slots=True)
class Layout:
    """What a masked vector is made of: an update's numbers, and counts behind them."""

    schema: Schema
    cells: int
    bits: int
    scale: float

    @classmethod
    def of(cls, manifest: JobManifest, *, trains: bool) -> "Layout":
        trains = trains and manifest.sends_tensors
        grid = grid_of(manifest.clip, manifest.sigma, manifest.values if trains else 0)
        cells = 0 if manifest.kind is Kind.ANALYTICS else 2 * BINS
        if manifest.protocol is not None:
            cells = length(manifest.protocol)  # of which the first are all patients' histogram
        return cls(manifest.weights if trains else {}, cells, grid.bits, grid.scale)

    @property
    def values(self) -> int:
        return sum(spec.count for spec in self.schema.values())

    def size(self, weights: Sequence[int]) -> int:
        return (self.values + self.cells) * width_of(self.bits, weights)


def unmask(
    layout: Layout,
    updates: Sequence[Path],
    remover: Mask,
    width: int,
    total_weight: int,
    into: Path,
) -> ScoreHistogram | None:
    """Write the weighted mean update as safetensors; return the counts of all, where there are any.

    The sum is exact: whole numbers, modulo what no sum of them reaches. SumBroken where it is one
    that honest hospitals' numbers have not: whose they are, nobody can tell.
    """
    count, cells = layout.values + layout.cells, np.zeros(layout.cells, np.int64)
    unit = 1.0 / (layout.scale * total_weight)
    longest = 2 ** (layout.bits - 1) * max(total_weight, len(updates))
    with ExitStack() as open_files:
        columns = [open_files.enter_context(path.open("rb")) for path in updates]
        file = open_files.enter_context(into.open("wb"))
        mean = _Mean(layout.schema, file)
        for start in range(0, count, PIECE):
            total = np.zeros(min(PIECE, count - start), np.uint64)
            for column in columns:
                total += unpacked(column.read(len(total) * width), width)
            remover.put_on(total)
            whole = signed(total, width)
            if np.abs(whole).max() > longest:
                raise SumBroken("a hospital added numbers that no gate lets out")
            split = max(0, min(layout.values - start, len(whole)))
            mean.add(whole[:split].astype(np.float64) * unit)
            at = start + split - layout.values
            if split < len(whole):
                cells[at : at + len(whole) - split] = whole[split:]
    if cells.size and cells.min() < 0:
        raise SumBroken("a hospital added counts that no gate lets out")
    if not cells.any():
        return None
    return ScoreHistogram(
        positives=cells[:BINS].tolist(), negatives=cells[BINS : 2 * BINS].tolist()
    )


class _Mean:
    """Values in the order of the tensors' names, each written in its tensor's type."""

    def __init__(self, schema: Schema, file: BinaryIO) -> None:
        self._file = file
        self._left = [(spec.numpy, spec.count) for _, spec in sorted(schema.items())]
        if schema:
            file.write(encode_header(schema))

    def add(self, values: npt.NDArray[np.float64]) -> None:
        while len(values):
            dtype, count = self._left[0]
            now, values = values[:count], values[count:]
            self._file.write(now.astype(dtype).tobytes())
            left = count - len(now)
            self._left[:1] = [(dtype, left)] if left else []
