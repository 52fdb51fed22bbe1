"""Weights and updates on the wire: safetensors, read and written by one strict codec."""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Buffer = bytes | bytearray | memoryview
HEADER_LIMIT_BYTES = 4 << 20
PREFIX = struct.Struct("<Q")
HEADER_AT_MOST = PREFIX.size + HEADER_LIMIT_BYTES
_NUMPY: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


class TensorSpec(BaseModel):
    """One tensor as the reviewed manifest declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["F16", "F32", "F64"] = "F32"
    shape: tuple[Annotated[int, Field(ge=1, le=1 << 31)], ...]

    @property
    def numpy(self) -> np.dtype[Any]:
        return _NUMPY[self.dtype]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.count * self.numpy.itemsize


Schema = Mapping[str, TensorSpec]


class MalformedTensors(ValueError):
    """The bytes are not a safetensors file as we read it."""


class SchemaMismatch(ValueError):
    """The tensors are not those declared; `tensor` is a declared name, or empty."""

    def __init__(self, tensor: str = "") -> None:
        super().__init__(f"tensor {tensor} is not as declared" if tensor else "other tensors")
        self.tensor = tensor


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A checked safetensors file: views of the declared tensors, nothing copied."""

    schema: Schema
    raw: memoryview
    offsets: Mapping[str, int]

    def flat(self, name: str) -> npt.NDArray[Any]:
        """Return a tensor's values in order, as a read-only view of the file."""
        spec = self.schema[name]
        return np.frombuffer(self.raw, spec.numpy, spec.count, self.offsets[name])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.flat(name).reshape(self.schema[name].shape)


def encode_header(schema: Schema) -> bytes:
    """Return the one header our files of this schema have: names sorted, no gaps, 8-aligned."""
    entries, end = {}, 0
    for name in sorted(schema):
        begin, end = end, end + schema[name].size_bytes
        spec = schema[name]
        entries[name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return PREFIX.pack(len(text)) + text


def encode(tensors: Mapping[str, npt.ArrayLike], schema: Schema) -> bytes:
    """Return tensors as a safetensors file of exactly this schema."""
    if set(tensors) != set(schema):
        raise SchemaMismatch
    parts = [encode_header(schema)]
    for name in sorted(schema):
        values = np.asarray(tensors[name])
        if values.shape != schema[name].shape:
            raise SchemaMismatch(name)
        parts.append(np.ascontiguousarray(values, schema[name].numpy).tobytes())
    return b"".join(parts)


def decode(raw: Buffer, schema: Schema) -> TensorFile:
    """Read a safetensors file that must hold exactly the declared tensors and nothing else.

    Every offset is checked against the file before a byte of data is looked at; tensors must tile
    the data section without gap, overlap or tail, so that nothing can hide between them.
    """
    view = memoryview(raw).cast("B")
    header, start = _header(view)
    if set(header) != set(schema):
        raise SchemaMismatch
    offsets, spans = {}, []
    for name, spec in schema.items():
        begin, end = _span(header[name], name, spec)
        offsets[name] = start + begin
        spans.append((begin, end))
    spans.sort()
    tiled = [0, *(edge for span in spans for edge in span), len(view) - start]
    if any(left != right for left, right in list(pairwise(tiled))[::2]):
        raise MalformedTensors("the tensors do not fill the file exactly")
    return TensorFile(schema, view, offsets)


def read_schema(raw: Buffer) -> dict[str, TensorSpec]:
    """Return what a safetensors file says it holds (a vendor's own file, a tool's input)."""
    header, _ = _header(memoryview(raw).cast("B"))
    return {
        name: TensorSpec.model_validate({key: entry[key] for key in ("dtype", "shape")})
        for name, entry in header.items()
    }


def tensor_starts(raw: Buffer) -> list[int]:
    """Return where tensors begin in a safetensors file, as its head says; none in another."""
    try:
        header, start = _header(memoryview(raw).cast("B"))
        return [start + int(entry["data_offsets"][0]) for entry in header.values()]
    except (MalformedTensors, LookupError, TypeError, ValueError):
        return []


def chunks(length: int, at_most: int = 1 << 16) -> Iterator[slice]:
    """Cut a long tensor, so that working on it takes little memory beside it."""
    for start in range(0, length, at_most):
        yield slice(start, min(start + at_most, length))


def _header(view: memoryview) -> tuple[dict[str, Any], int]:
    if len(view) < PREFIX.size:
        raise MalformedTensors("the file is too short")
    (length,) = PREFIX.unpack(view[: PREFIX.size])
    if length > HEADER_LIMIT_BYTES or PREFIX.size + length > len(view):
        raise MalformedTensors("the header is longer than it may be")
    start = PREFIX.size + length
    try:
        header = json.loads(bytes(view[PREFIX.size : start]), object_pairs_hook=_once)
    except (ValueError, RecursionError) as fault:
        raise MalformedTensors("the header is not JSON") from fault
    if not isinstance(header, dict):
        raise MalformedTensors("the header is not an object")
    metadata = header.pop("__metadata__", {})
    if metadata not in ({}, {"format": "pt"}, {"format": "np"}):
        raise MalformedTensors("the file carries metadata")
    if not all(isinstance(entry, dict) for entry in header.values()):
        raise MalformedTensors("the header's entries are not objects")
    return header, start


def _span(entry: dict[str, Any], name: str, spec: TensorSpec) -> tuple[int, int]:
    wanted = {"dtype": spec.dtype, "shape": list(spec.shape)}
    if {key: value for key, value in entry.items() if key != "data_offsets"} != wanted:
        raise SchemaMismatch(name)
    span = entry.get("data_offsets")
    match span:
        case [int(begin), int(end)] if end - begin == spec.size_bytes and begin >= 0:
            return begin, end
    raise MalformedTensors("an offset is not where its tensor can be")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name stands twice")
    return entries
