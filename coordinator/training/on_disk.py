"""Safetensors files of any size, read by pieces."""

from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

from coordinator.training.aggregate import Piece
from protos.tensors import MalformedTensors, Schema, decode, read_schema


class OnDisk:
    """A file whose header is checked when it is opened; no more of it is held than is asked for."""

    def __init__(self, path: Path, schema: Schema | None = None) -> None:
        if path.stat().st_size == 0:
            raise MalformedTensors("the file is empty")
        with path.open("rb") as file:
            # Unmapped with its last view: a fault on its way out still holds one.
            whole = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        self.schema = dict(schema or read_schema(whole))
        self._offsets = dict(decode(whole, self.schema).offsets)
        self._path = path

    def piece(self, name: str, part: slice) -> Piece:
        """Return some of a tensor's values, in order."""
        kind = self.schema[name].numpy
        start = self._offsets[name] + part.start * kind.itemsize
        found = np.fromfile(self._path, kind, part.stop - part.start, offset=start)
        return found.astype(np.float64)
