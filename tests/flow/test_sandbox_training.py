"""An honest job goes the whole way: bundle, sandbox, gate, mean; and learns what no site can."""

import time

import numpy as np
import pytest

from coordinator.training.sums import Model, fold
from deploy.demo.job.make import lay_out
from deploy.demo.phantoms import SITES
from gateway.evaluate.metrics import read_metrics
from gateway.model import Isolation
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Finished, Runner
from protos import bundle
from protos.job_manifest import Kind
from tests.fakes import isolating, vendor
from tests.fakes.lesion_task import a_hospital, a_round, pooled_auc
from tests.fakes.releasing import Leaving, released

pytestmark = pytest.mark.flow
PATIENTS = 90
ROUNDS = 4


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=1 << 30))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Three hospitals' frozen cohorts of generated phantoms."""
    return {
        profile.site: a_hospital(tmp_path_factory.mktemp(profile.site), profile, PATIENTS)
        for profile in SITES
    }


def train(runner, code, manifest, hospitals, weights, start):
    weights.write_bytes(start)
    noise = np.random.default_rng(5).standard_normal  # the gate's own would make the test a lottery
    for number in range(1, ROUNDS + 1):
        updates = []
        for hospital in hospitals:
            outputs = a_round(runner, code, hospital, weights, number)
            update = released(
                outputs["weights.safetensors"],
                weights.read_bytes(),
                manifest.weights,
                manifest.clip,
                manifest.sigma,
                noise,
            )
            assert isinstance(update, Leaving)
            assert read_metrics(outputs["metrics.json"], manifest.metrics, PATIENTS)
            arrived = weights.with_name(f"update{len(updates)}")
            arrived.write_bytes(update.payload)
            updates.append((arrived, hospital.training_patients))
        following = weights.with_name("following")
        fold(manifest.training, Model(weights), updates, Model(following))
        following.replace(weights)


def test_hospitals_together_learn_what_none_learns_alone(runner, hospitals, tmp_path):
    raw = bundle.pack(lay_out(Kind.TRAINING, tmp_path / "training"))
    manifest = bundle.unpack(raw, tmp_path / "code")
    bundle.unpack(bundle.pack(lay_out(Kind.EVALUATION, tmp_path / "test")), tmp_path / "test-code")

    def result(sites):
        weights = tmp_path / "weights"
        train(runner, tmp_path / "code", manifest, sites, weights, bundle.initial_weights(raw))
        return pooled_auc(runner, tmp_path / "test-code", hospitals, weights)

    together = result(list(hospitals.values()))
    alone = {name: result([hospital]) for name, hospital in hospitals.items()}

    assert together > 0.93
    assert together > max(alone.values()) + 0.01, alone


@isolating.WITHOUT_GVISOR
def test_a_round_in_gvisor_comes_out_the_same(runner, hospitals, tmp_path):
    raw = bundle.pack(lay_out(Kind.TRAINING, tmp_path / "training"))
    bundle.unpack(raw, tmp_path / "code")
    weights = tmp_path / "weights"
    weights.write_bytes(bundle.initial_weights(raw))
    in_gvisor = Runner.on_this_machine(runner.limits, isolation=Isolation.GVISOR)

    plain, other = (
        a_round(one, tmp_path / "code", hospitals["anlan"], weights, 1)
        for one in (runner, in_gvisor)
    )

    assert {*plain} == {*other} >= {"weights.safetensors", "predictions.csv"}
    assert all(bytes(plain[name]) == bytes(other[name]) for name in plain)


@pytest.mark.parametrize("isolation", isolating.EITHER)
def test_a_job_begins_within_half_a_second(isolation, tmp_path):
    runner = Runner.on_this_machine(Limits(memory_bytes=1 << 30), isolation=isolation)
    spent = []
    for number in range(20):
        began = time.monotonic()
        outcome = vendor.run(runner, tmp_path / str(number), "def predict(*_): return {}\n")
        spent.append(time.monotonic() - began)
        assert isinstance(outcome, Finished)
        if spent[-1] <= 0.5:
            break

    # The others waited for whatever else this machine does; gVisor starts a kernel first.
    assert min(spent) <= (0.5 if isolation is Isolation.BUBBLEWRAP else 1.0)
