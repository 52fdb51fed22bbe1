import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from gateway.release.normal import SecureNormal
from gateway.release.tensors import (
    TensorCode,
    Withheld,
)
from protos.tensors import TensorSpec, encode
from protos.update_price import NO_BOUND, leakage_bits, rho_per_patient
from tests.fakes.releasing import released

SCHEMA = {"w": TensorSpec(shape=(3, 4)), "b": TensorSpec(dtype="F64", shape=(2,))}
OLD = {"w": np.ones((3, 4), "f4"), "b": np.zeros(2)}


def update(new, clip=1.0, sigma=0.0, normal=None):
    return released(save(new), encode(OLD, SCHEMA), SCHEMA, clip, sigma, normal)


def moved(by, only="wb"):
    return {name: values + (by if name in only else 0) for name, values in OLD.items()}


def typed(values):
    return {name: np.array(each, SCHEMA[name].numpy) for name, each in values.items()}


def norm(payload):
    return math.sqrt(sum(float((v.astype("f8") ** 2).sum()) for v in load(payload).values()))


def test_a_small_update_leaves_as_the_difference_it_is():
    checked = update(typed(moved(0.125)))

    leaving = load(checked.payload)
    np.testing.assert_array_equal(leaving["w"], np.full((3, 4), 0.125, "f4"))
    np.testing.assert_array_equal(leaving["b"], np.full(2, 0.125))
    assert not checked.clipped


def test_the_norm_is_clipped_jointly_over_all_tensors():
    checked = update(typed(moved(100.0)), clip=2.0)

    assert checked.clipped
    assert 1.99 < norm(checked.payload) <= 2.0
    assert checked.norm == pytest.approx(100 * math.sqrt(14))
    leaving = load(checked.payload)
    assert leaving["w"][0, 0] == pytest.approx(leaving["b"][0], rel=1e-6)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=12, max_size=12),
    st.floats(0.001, 1000),
)
def test_nothing_longer_than_the_clip_ever_leaves(values, clip):
    checked = update(typed(OLD | {"w": np.reshape(values, (3, 4))}), clip=clip)

    assert norm(checked.payload) <= clip


def test_noise_is_added_once_to_every_value():
    checked = update(typed(OLD), sigma=0.5, normal=lambda count: np.arange(1.0, count + 1))

    leaving = load(checked.payload)
    np.testing.assert_array_equal(leaving["w"].ravel(), 0.5 * np.arange(1, 13))
    np.testing.assert_array_equal(leaving["b"], [0.5, 1.0])


def test_the_gates_noise_is_normal_and_never_the_same():
    drawn = SecureNormal()(200_001)

    assert len(drawn) == 200_001
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.01
    assert abs(float(np.mean(np.abs(drawn) > 1.959964)) - 0.05) < 0.003
    assert not np.array_equal(SecureNormal()(8), SecureNormal()(8))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["w", "b"])
def test_what_is_not_finite_stays(name, value):
    new = typed(OLD)
    new[name].flat[-1] = value

    assert update(new) == Withheld(TensorCode.NOT_FINITE, name)


def test_a_norm_beyond_all_numbers_stays():
    new = typed(OLD)
    new["b"][:] = 1e300

    assert update(new).code is TensorCode.NOT_FINITE


def test_a_mismatch_names_a_declared_tensor_and_nothing_else():
    assert update({"w": OLD["w"].ravel(), "b": OLD["b"]}) == Withheld(
        TensorCode.SCHEMA_MISMATCH, "w"
    )
    assert update(OLD | {"ZHANG^WEI": OLD["b"]}) == Withheld(TensorCode.SCHEMA_MISMATCH, "")


def test_pickles_and_rubbish_stay():
    for raw in (b"", b"\x80\x04\x95pickle", bytes(1000)):
        result = released(raw, encode(OLD, SCHEMA), SCHEMA, 1.0, 0.0)
        assert result == Withheld(TensorCode.MALFORMED)


def test_the_vendors_header_does_not_leave():
    import json
    import struct

    tensors = typed(moved(0.125))
    honest = save(tensors)
    (length,) = struct.unpack("<Q", honest[:8])
    header = json.dumps(json.loads(honest[8 : 8 + length])).encode() + b" " * 4096
    padded = struct.pack("<Q", len(header)) + header + honest[8 + length :]

    checked = released(padded, encode(OLD, SCHEMA), SCHEMA, 9.0, 0.0)

    assert checked.payload == update(tensors, clip=9.0).payload


def test_pixels_hidden_in_weights_drown_when_there_is_noise():
    schema = {"w": TensorSpec(shape=(4096,))}
    pixels = np.random.default_rng(0).integers(0, 4096, 4096).astype("f4")
    old = encode({"w": np.zeros(4096)}, schema)

    def correlation(sigma):
        out = released(save({"w": pixels}), old, schema, 1.0, sigma)
        return abs(np.corrcoef(load(out.payload)["w"], pixels)[0, 1])

    assert correlation(0.0) > 0.999  # clipping alone hides nothing
    assert correlation(0.5) < 0.1


def test_the_leakage_bound_is_stated_and_its_absence_too():
    assert leakage_bits(1.0, 0.05) == pytest.approx(288.54, abs=0.01)
    assert leakage_bits(1.0, 0.0) == NO_BOUND
    assert rho_per_patient(1.0, 0.05) == pytest.approx(800)
    assert math.isinf(rho_per_patient(1.0, 0.0))
    assert update(typed(OLD)).leakage_bits == NO_BOUND


@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(0.01, 10))
def test_the_bound_covers_a_gaussian_channel_of_any_width(values, clip, sigma):
    capacity = values / 2 * math.log1p(clip**2 / (values * sigma**2)) / math.log(2)

    assert capacity <= leakage_bits(clip, sigma) * (1 + 1e-9)
