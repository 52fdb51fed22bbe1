"""An update on its way into a secure sum: what is under the mask keeps every bound of the gate."""

import math
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
from scipy import stats

from gateway.cohort.noise import Bits, discrete_gaussian
from gateway.release.integers import Draws, check_integers
from gateway.release.tensors import TensorCode, Withheld, leakage_bits, rho_per_patient
from protos.sums import grid_of
from protos.tensors import TensorSpec, encode

COUNT = 100_000
SCHEMA = {"a": TensorSpec(shape=(COUNT // 2,)), "b": TensorSpec(shape=(COUNT // 2,))}


def files(values):
    half = COUNT // 2
    old = encode({"a": np.zeros(half), "b": np.zeros(half)}, SCHEMA)
    return encode({"a": values[:half], "b": values[half:]}, SCHEMA), old


def checked(values, clip=1.0, sigma=0.0, cells=(), **draws):
    out = BytesIO()
    found = check_integers(*files(values), SCHEMA, clip, sigma, cells, Draws(**draws), out)
    return found, np.frombuffer(out.getvalue(), "<i4").astype(np.int64)


def test_what_is_too_long_is_cut_and_its_whole_numbers_are_no_longer_than_the_clip():
    values = np.random.default_rng(1).normal(0, 1, COUNT)

    found, whole = checked(values, clip=2.0)

    scale = grid_of(2.0, 0.0, COUNT).scale
    norm = math.sqrt(int((whole**2).sum())) / scale
    assert 1.99 < norm <= 2.0
    assert found.clipped
    assert np.corrcoef(whole, values)[0, 1] > 0.999


def test_rounding_moves_no_mean():
    values = np.full(COUNT, 0.3 / grid_of(1.0, 0.0, COUNT).scale, np.float64)

    _, whole = checked(values)

    assert set(whole.tolist()) == {0, 1}
    assert abs(whole.mean() - 0.3) < 4 * math.sqrt(0.21 / COUNT)


def test_the_noise_is_the_discrete_gaussian_as_far_as_a_sample_tells():
    # A small grid's worth of noise, beside the exact sampler's of the questions.
    sigma = 7.0 / grid_of(1.0, 0.0, COUNT).scale
    grid = grid_of(1.0, sigma, COUNT)

    _, whole = checked(np.zeros(COUNT), sigma=sigma)

    steps = sigma * grid.scale
    assert abs(whole.mean()) < 4 * steps / math.sqrt(COUNT)
    assert abs(whole.std() / math.sqrt(steps**2 + 1 / 12) - 1) < 0.01
    exact, bits = Fraction(repr(steps)), Bits(b"seed")
    sample = [discrete_gaussian(exact, bits) for _ in range(2000)]
    assert stats.ks_2samp(sample, whole[:20_000]).pvalue > 1e-4


def test_its_price_is_the_price_of_the_gaussian():
    found, _ = checked(np.zeros(COUNT), sigma=0.05)

    assert found.leakage_bits == leakage_bits(1.0, 0.05)
    assert found.rho == rho_per_patient(1.0, 0.05)
    assert found.noise_norm == pytest.approx(0.05 * math.sqrt(COUNT), rel=0.02)


def test_counts_follow_the_update_as_they_are():
    _, whole = checked(np.zeros(COUNT), sigma=0.05, cells=[3, 0, 12])

    assert whole[-3:].tolist() == [3, 0, 12]
    assert len(whole) == COUNT + 3


def test_what_only_counts_has_no_noise_and_no_bits():
    out = BytesIO()

    found = check_integers(b"", b"", {}, 1.0, 0.1, [5, 6], Draws(), out)

    assert np.frombuffer(out.getvalue(), "<i4").tolist() == [5, 6]
    assert (found.leakage_bits, found.rho) == (0.0, 0.0)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_stays(poison):
    values = np.zeros(COUNT)
    values[77] = poison

    found, _ = checked(values)

    assert found == Withheld(TensorCode.NOT_FINITE, "a")


def test_other_tensors_stay():
    new, old = files(np.zeros(COUNT))
    other = {"a": TensorSpec(shape=(3,))}

    found = check_integers(new, old, other, 1.0, 0.0, [], Draws(), BytesIO())

    assert found == Withheld(TensorCode.SCHEMA_MISMATCH, "")
    assert check_integers(b"x", old, SCHEMA, 1.0, 0.0, [], Draws(), BytesIO()).code is (
        TensorCode.MALFORMED
    )
