import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from coordinator.training.aggregate import RunningMean, UnusableUpdate
from protos.tensors import TensorSpec, encode

SCHEMA = {"w": TensorSpec(shape=(3, 2)), "b": TensorSpec(dtype="F64", shape=(2,))}
ZEROS = encode({"w": np.zeros((3, 2)), "b": np.zeros(2)}, SCHEMA)


def an_update(w, b=0.0):
    return encode({"w": np.full((3, 2), w), "b": np.full(2, b)}, SCHEMA)


@given(
    st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.floats(0.5, 1000)), min_size=1, max_size=12
    )
)
def test_the_mean_is_weighted(updates):
    mean = RunningMean(SCHEMA)
    for value, weight in updates:
        mean.add(an_update(value, value), weight)

    moved = load(mean.applied_to(ZEROS))

    values, weights = zip(*updates, strict=True)
    expected = np.average(np.array(values), weights=weights)
    np.testing.assert_allclose(moved["w"], expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(moved["b"], expected, rtol=1e-9, atol=1e-9)


def test_weights_move_by_the_mean():
    old = encode({"w": np.full((3, 2), 5.0), "b": [1.0, 2.0]}, SCHEMA)
    mean = RunningMean(SCHEMA)
    mean.add(an_update(1.0, 4.0), 1)
    mean.add(an_update(4.0, 4.0), 2)

    moved = load(mean.applied_to(old))

    np.testing.assert_array_equal(moved["w"], np.full((3, 2), 8.0, "f4"))
    np.testing.assert_array_equal(moved["b"], [5.0, 6.0])


@pytest.mark.parametrize(
    ("update", "weight"),
    [
        (b"rubbish", 1.0),
        (encode({"w": np.zeros((2, 3))}, {"w": TensorSpec(shape=(2, 3))}), 1.0),
        (an_update(math.nan), 1.0),
        (an_update(0.0, math.inf), 1.0),
        (an_update(1.0), 0.0),
        (an_update(1.0), -3.0),
        (an_update(1.0), math.nan),
        (an_update(1.0), math.inf),
    ],
)
def test_an_unusable_update_leaves_no_trace(update, weight):
    mean = RunningMean(SCHEMA)
    mean.add(an_update(2.0, 2.0), 3.0)

    with pytest.raises(UnusableUpdate):
        mean.add(update, weight)

    assert mean.updates == 1
    np.testing.assert_array_equal(load(mean.applied_to(ZEROS))["b"], [2.0, 2.0])


def test_without_updates_there_is_no_mean():
    with pytest.raises(UnusableUpdate):
        RunningMean(SCHEMA).applied_to(ZEROS)


def test_a_mean_that_leaves_the_weights_type_is_refused():
    schema = {"w": TensorSpec(dtype="F16", shape=(1,))}
    mean = RunningMean(schema)
    mean.add(encode({"w": [60000.0]}, schema), 1)

    with pytest.raises(UnusableUpdate):
        mean.applied_to(encode({"w": [60000.0]}, schema))


def test_memory_is_twice_the_model_whatever_the_number_of_sites():
    count = 2 << 20
    schema = {"w": TensorSpec(shape=(count,))}
    update = encode({"w": np.ones(count)}, schema)
    tracemalloc.start()

    mean = RunningMean(schema)
    for _ in range(5):
        mean.add(update, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * 4 * count + 5 * (8 << 20)
