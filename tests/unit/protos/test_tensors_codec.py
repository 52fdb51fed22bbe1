import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from protos.tensors import (
    MalformedTensors,
    SchemaMismatch,
    TensorSpec,
    chunks,
    decode,
    encode,
    read_schema,
)

SCHEMA = {"b": TensorSpec(shape=(2, 3)), "a": TensorSpec(dtype="F64", shape=(4,))}
VALUES = {"b": np.arange(6, dtype="f4").reshape(2, 3), "a": np.linspace(0, 1, 4)}


def test_our_files_are_safetensors_to_everyone_else():
    loaded = load(encode(VALUES, SCHEMA))

    assert set(loaded) == set(VALUES)
    for name, values in VALUES.items():
        np.testing.assert_array_equal(loaded[name], values)


def test_everyone_elses_files_are_safetensors_to_us():
    tensors = decode(save(VALUES), SCHEMA)

    for name, values in VALUES.items():
        np.testing.assert_array_equal(tensors[name], values)
    assert read_schema(save(VALUES)) == SCHEMA


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(["F16", "F32", "F64"]), st.lists(st.integers(1, 4), max_size=3)),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_encoded_is_decoded(entries):
    schema = {n: TensorSpec(dtype=d, shape=tuple(s)) for n, (d, s) in entries.items()}
    values = {n: np.random.default_rng(0).normal(size=s.shape) for n, s in schema.items()}

    tensors = decode(encode(values, schema), schema)

    for name, spec in schema.items():
        np.testing.assert_array_equal(tensors[name], values[name].astype(spec.numpy))


@pytest.mark.parametrize(
    "found",
    [
        {"a": VALUES["a"]},
        VALUES | {"c": VALUES["a"]},
        {"a": VALUES["a"], "c": VALUES["b"]},
        VALUES | {"a": VALUES["a"].astype("f4")},
        VALUES | {"b": VALUES["b"].reshape(3, 2)},
        VALUES | {"b": VALUES["b"].reshape(6)},
        VALUES | {"a": VALUES["a"].astype("i8")},
    ],
    ids=["missing", "extra", "renamed", "dtype", "transposed", "flat", "integers"],
)
def test_other_tensors_than_declared_are_a_mismatch(found):
    with pytest.raises(SchemaMismatch):
        decode(save(found), SCHEMA)


def test_a_mismatch_names_the_declared_tensor():
    with pytest.raises(SchemaMismatch) as caught:
        decode(save(VALUES | {"b": VALUES["b"].reshape(6)}), SCHEMA)

    assert caught.value.tensor == "b"


def header_of(entries, data=bytes(56)):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin, end, dtype="F32", shape=(2, 3)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


A, B = entry(0, 32, "F64", (4,)), entry(32, 56)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9),
        header_of(b"[]"),
        header_of(b"{"),
        header_of(b"\xff\xfe"),
        header_of(b"[" * 3000),
        header_of(b'{"a": 1, "b": 2}'),
        header_of(json.dumps({"a": A, "b": B}).encode().replace(b'{"a"', b'{"a": {}, "a"', 1)),
        header_of({"a": A, "b": B, "__metadata__": {"patient": "ZHANG^WEI"}}),
        header_of({"a": A, "b": entry(33, 57)}, bytes(57)),
        header_of({"a": A, "b": entry(8, 32)}),
        header_of({"a": A, "b": entry(32, 56)}, bytes(57)),
        header_of({"a": A, "b": entry(32, 56)}, bytes(55)),
        header_of({"a": A, "b": entry(-24, 0)}),
        header_of({"a": A, "b": entry(32, 55)}),
        header_of({"a": A, "b": entry("32", "56")}),
        header_of({"a": A, "b": {"dtype": "F32", "shape": [2, 3]}}),
    ],
)  # fmt: skip
def test_a_crafted_file_is_malformed(raw):
    with pytest.raises(MalformedTensors):
        decode(raw, SCHEMA)


@given(st.binary(max_size=300))
def test_noise_is_malformed_or_a_mismatch(raw):
    with pytest.raises((MalformedTensors, SchemaMismatch)):
        decode(raw, SCHEMA)


@given(st.integers(1, 50), st.integers(1, 9))
def test_chunks_cover_everything_once(length, size):
    covered = [i for part in chunks(length, size) for i in range(length)[part]]

    assert covered == list(range(length))
