"""Strategies against formulas written down a second time, from the papers, in plain numpy."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.stats import trim_mean

from coordinator.training import sums
from coordinator.training.aggregate import UnusableUpdate
from coordinator.training.sums import Model, fold, is_usable
from protos.tensors import TensorSpec, encode
from protos.training import TrainingPlan

SCHEMA = {"w": TensorSpec(shape=(3, 2)), "b": TensorSpec(dtype="F64", shape=(2,))}
ZEROS = {"w": np.zeros((3, 2)), "b": np.zeros(2)}
MEAN = TrainingPlan()
RNG = np.random.default_rng(7)
UPDATES = [
    ({"w": RNG.normal(0, 1, (3, 2)), "b": RNG.normal(0, 1, 2)}, weight)
    for weight in (30.0, 10.0, 25.0, 5.0, 80.0)
]


class Rounds:
    """Folds rounds one after the other, as the driver does: by files."""

    def __init__(self, directory, plan=MEAN, weights=ZEROS, schema=SCHEMA):
        self.directory, self.plan, self.schema, self.number = directory, plan, schema, 0
        self.model = Model(self.write("start", encode(weights, schema)))

    def write(self, name, content):
        path = self.directory / name
        path.write_bytes(content)
        return path

    def fold(self, updates, *, raw=False):
        self.number += 1
        files = [
            (self.write(f"{self.number}.{i}", each if raw else encode(each, self.schema)), weight)
            for i, (each, weight) in enumerate(updates)
        ]
        state = self.directory / f"state{self.number}" if self.plan.is_adaptive else None
        after = Model(self.directory / f"model{self.number}", state)
        fold(self.plan, self.model, files, after)
        self.model = after
        return load_file(after.weights)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("folding")


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.floats(0.5, 1000)), min_size=1, max_size=12
    )
)
def test_the_mean_is_weighted_by_patients(place, updates):
    moved = Rounds(place).fold(
        [({"w": np.full((3, 2), value), "b": np.full(2, value)}, w) for value, w in updates]
    )

    values, weights = zip(*updates, strict=True)
    expected = np.average(np.array(values), weights=weights)
    np.testing.assert_allclose(moved["w"], expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(moved["b"], expected, rtol=1e-9, atol=1e-9)


def test_or_each_hospital_counts_once(tmp_path):
    moved = Rounds(tmp_path, TrainingPlan(weighting="equal")).fold(UPDATES)

    expected = np.mean([update["b"] for update, _ in UPDATES], axis=0)
    np.testing.assert_allclose(moved["b"], expected, rtol=1e-12)


def test_weights_move_by_the_mean(tmp_path):
    old = {"w": np.full((3, 2), 5.0), "b": [1.0, 2.0]}

    moved = Rounds(tmp_path, weights=old).fold(
        [({"w": np.full((3, 2), v), "b": np.full(2, 4.0)}, w) for v, w in ((1.0, 1), (4.0, 2))]
    )

    np.testing.assert_array_equal(moved["w"], np.full((3, 2), 8.0, "f4"))
    np.testing.assert_array_equal(moved["b"], [5.0, 6.0])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_median_is_numpys(tmp_path, count):
    moved = Rounds(tmp_path, TrainingPlan(strategy="median")).fold(UPDATES[:count])

    for name in SCHEMA:
        expected = np.median([update[name] for update, _ in UPDATES[:count]], axis=0)
        np.testing.assert_allclose(moved[name], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("count", "trim", "cut"), [(5, 0.2, 1), (5, 0.1, 1), (5, 0.4, 2), (2, 0.4, 0)]
)
def test_the_trimmed_mean_is_scipys_and_cuts_at_least_one_where_it_can(tmp_path, count, trim, cut):
    plan = TrainingPlan(strategy="trimmed_mean", trim=trim)

    moved = Rounds(tmp_path, plan).fold(UPDATES[:count])

    for name in SCHEMA:
        stack = np.array([update[name] for update, _ in UPDATES[:count]])
        np.testing.assert_allclose(moved[name], trim_mean(stack, cut / count), rtol=1e-6)


def test_a_median_tiled_from_disk_is_the_same(tmp_path, monkeypatch):
    schema = {"w": TensorSpec(shape=(5000,))}
    updates = [({"w": RNG.normal(0, 1, 5000)}, 1.0) for _ in range(5)]
    monkeypatch.setattr(sums, "TILE_VALUES", 1)  # the least tile there is: 1024 values

    moved = Rounds(tmp_path, TrainingPlan(strategy="median"), {"w": np.zeros(5000)}, schema).fold(
        updates
    )

    expected = np.median([update["w"].astype("f4") for update, _ in updates], axis=0)
    np.testing.assert_array_equal(moved["w"], expected)


@pytest.mark.parametrize("strategy", ["fedadam", "fedyogi"])
def test_adaptive_steps_are_those_of_reddi_et_al(tmp_path, strategy):
    rate, b1, b2, tau = 0.05, 0.8, 0.95, 1e-2
    plan = TrainingPlan(strategy=strategy, server_rate=rate, beta1=b1, beta2=b2, tau=tau)
    rounds = Rounds(tmp_path, plan)

    # Algorithm 2, line by line, on all values at once and in double precision.
    x, m, v = np.zeros(2), np.zeros(2), np.full(2, tau**2)
    for number in range(4):
        batch = [({n: a * (number + 1) for n, a in u.items()}, w) for u, w in UPDATES[number:]]
        moved = rounds.fold(batch)
        delta = sum(w * u["b"] for u, w in batch) / sum(w for _, w in batch)
        m = b1 * m + (1 - b1) * delta
        if strategy == "fedadam":
            v = b2 * v + (1 - b2) * delta * delta
        else:
            v = v - (1 - b2) * delta * delta * np.sign(v - delta * delta)
        x = x + rate * m / (np.sqrt(v) + tau)
        np.testing.assert_allclose(moved["b"], x, rtol=1e-12)
    kept = load_file(rounds.model.state)
    assert set(kept) == {"first.w", "second.w", "first.b", "second.b"}
    np.testing.assert_allclose(kept["second.b"], v, rtol=1e-12)


def test_the_same_round_folded_again_gives_the_same_bytes(tmp_path):
    plan = TrainingPlan(strategy="fedyogi")
    once, again = ((tmp_path / name) for name in ("once", "again"))
    once.mkdir()
    again.mkdir()

    both = [Rounds(where, plan) for where in (once, again)]
    for rounds in both:
        rounds.fold(UPDATES)
        rounds.fold(UPDATES[1:])

    assert both[0].model.weights.read_bytes() == both[1].model.weights.read_bytes()
    assert both[0].model.state.read_bytes() == both[1].model.state.read_bytes()


@pytest.mark.parametrize("plan", [MEAN, TrainingPlan(strategy="median")])
@pytest.mark.parametrize(
    ("update", "weight"),
    [
        (b"", 1.0),
        (b"rubbish", 1.0),
        (encode({"w": np.zeros((2, 3))}, {"w": TensorSpec(shape=(2, 3))}), 1.0),
        (encode(ZEROS | {"w": np.full((3, 2), math.nan)}, SCHEMA), 1.0),
        (encode(ZEROS | {"b": np.full(2, math.inf)}, SCHEMA), 1.0),
        (encode(ZEROS, SCHEMA), 0.0),
        (encode(ZEROS, SCHEMA), -3.0),
        (encode(ZEROS, SCHEMA), math.nan),
        (encode(ZEROS, SCHEMA), math.inf),
    ],
)
def test_an_unusable_update_makes_no_model(tmp_path, plan, update, weight):
    rounds = Rounds(tmp_path, plan)
    path = rounds.write("update", update)

    with pytest.raises(UnusableUpdate):
        rounds.fold([(encode(ZEROS, SCHEMA), 1.0), (update, weight)], raw=True)

    assert not (is_usable(rounds.model.weights, path) and math.isfinite(weight) and weight > 0)


def test_without_updates_there_is_no_mean(tmp_path):
    with pytest.raises(UnusableUpdate):
        Rounds(tmp_path).fold([])


def test_a_model_that_leaves_its_own_type_is_refused(tmp_path):
    schema = {"w": TensorSpec(dtype="F16", shape=(1,))}
    rounds = Rounds(tmp_path, MEAN, {"w": [60000.0]}, schema)

    with pytest.raises(UnusableUpdate):
        rounds.fold([({"w": [60000.0]}, 1.0)])


@pytest.mark.parametrize("strategy", ["fedavg", "median", "fedadam"])
def test_memory_is_less_than_twice_the_model_whatever_the_number_of_sites(tmp_path, strategy):
    count = 12 << 20
    schema = {"w": TensorSpec(shape=(count,))}
    plan = TrainingPlan(strategy=strategy)
    rounds = Rounds(tmp_path, plan, {"w": np.zeros(count)}, schema)
    files = [(rounds.write("one", encode({"w": np.ones(count)}, schema)), 1.0)] * 5
    tracemalloc.start()

    fold(plan, rounds.model, files, Model(tmp_path / "out", tmp_path / "state"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * 4 * count
