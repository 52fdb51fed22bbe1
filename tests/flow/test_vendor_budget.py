"""What a vendor's jobs can have carried out is added up for ever, and ends where policy says."""

from math import log2
from threading import Event
from time import monotonic

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.desk.charging import dataset_of
from gateway.desk.ticks import ROUND_TICK_SECONDS
from gateway.model import Isolation
from gateway.policy import Jobs, Policy, Vendor
from gateway.release.bits import BitsLedger, Charge
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import JobFailed, Runner
from protos import bundle, job_manifest
from protos.update_price import epsilon
from protos.v1 import job_pb2
from tests.fakes.brightness import Signer, a_bundle
from tests.fakes.hospital import Hospital

pytestmark = pytest.mark.flow
PER_UPDATE = 7213.5  # C^2 / (2 sigma^2 ln 2) at sigma = 0.01 C


@pytest.fixture
def vendor():
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def hospital(tmp_path, vendor):
    runner = Runner.on_this_machine(Limits(memory_bytes=1 << 30))
    return Hospital(tmp_path / "data", runner, a_policy(vendor, 20_000.0))


def a_policy(vendor, at_most):
    vendors = (Vendor(name="acme", public_key=vendor.public.hex()),)
    return Policy(jobs=Jobs(vendors=vendors, leakage_bits_per_vendor_at_most=at_most))


def offer(hospital, vendor, raw, job_id):
    hospital.hold(raw)
    hospital.desk.take_offer(
        job_pb2.JobOffer(
            job_id=job_id,
            bundle_digest=bundle.digest(raw),
            bundle_size=len(raw),
            vendor_key=vendor.public,
            vendor_signature=bundle.sign(raw, vendor.key),
            kind=job_pb2.JOB_KIND_TRAINING,
            rounds=3,
        )
    )
    work(hospital)
    hospital.desk.approve(job_id, "Dr. Steward")


def run_round(hospital, job_id, number):
    """Run a round whose weights the bundle brings; return how it ended."""
    task = job_pb2.RoundTask(task_id=f"{job_id}.{number}", job_id=job_id, round=number)
    hospital.desk.take_task(task)
    work(hospital)
    said = [
        job_pb2.TaskOutcome.FromString(report.body)
        for report in hospital.desk.outbox()
        if report.kind == "outcome"
    ]
    return next(outcome for outcome in said if outcome.task_id == task.task_id)


def work(hospital, seconds=60.0):
    stop, deadline = Event(), monotonic() + seconds
    while hospital.desk._job(stop) or hospital.desk.wanted():
        assert monotonic() < deadline


def with_weights(tmp_path, code=None):
    """The brightness job with a model of its own to begin with."""
    import numpy as np

    from protos import tensors
    from tests.fakes.brightness import JOB_PY, SCHEMA

    folder = tmp_path / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "weights.safetensors").write_bytes(tensors.encode({"w": np.zeros(2)}, SCHEMA))
    return a_bundle(tmp_path, code or JOB_PY)


def test_a_vendors_bits_add_up_over_jobs_until_the_bound(hospital, vendor, tmp_path):
    hospital.admit_images(60)
    raw = with_weights(tmp_path)
    offer(hospital, vendor, raw, "job1")
    offer(hospital, vendor, raw, "job2")

    first = run_round(hospital, "job1", 1)
    spent = hospital.bits.spent("acme")
    second = run_round(hospital, "job2", 1)
    third = run_round(hospital, "job2", 2)

    released, refused = job_pb2.TASK_STATE_RELEASED, job_pb2.TASK_STATE_REFUSED
    assert (first.state, second.state) == (released, released)
    assert PER_UPDATE < spent <= first.leakage_bits + 20
    assert (third.state, third.code) == (refused, "vendor_budget")
    assert hospital.bits.spent("acme") <= 20_000
    assert hospital.gate.outcome("r", third, "policy").payload


def test_what_was_spent_survives_a_restart_and_is_shown_by_data_set(hospital, vendor, tmp_path):
    hospital.admit_images(60)
    offer(hospital, vendor, with_weights(tmp_path), "job1")
    run_round(hospital, "job1", 1)
    spent = hospital.bits.spent("acme")

    hospital.close()
    hospital.open()

    (account,) = hospital.bits.accounts()
    assert account.bits == pytest.approx(spent)
    assert account.vendor == "acme"
    assert account.dataset.startswith("nodule/")
    assert account.rho == pytest.approx(2 / 0.01**2)
    assert account.epsilon == pytest.approx(epsilon(20_000))
    assert account.exact == 1  # the histogram: outside differential privacy, and said so


class Sleeper:
    """A job whose code ends when it likes, by a clock of the test's own."""

    runtimes = frozenset({job_manifest.PLAIN_RUNTIME})
    isolation, gpus = Isolation.BUBBLEWRAP, 0
    clock, takes = 1000.0, 0.0

    def run(self, *_given, **_named):
        self.clock += self.takes
        return JobFailed(FailureCode.CODE_FAILED, self.takes, b"")


class Waits(Event):
    seconds = 0.0

    def wait(self, timeout=None):
        self.seconds += timeout or 0.0
        return False


def test_when_a_jobs_code_ends_is_told_by_ticks_and_charged(tmp_path, vendor):
    sleeper = Sleeper()
    hospital = Hospital(tmp_path / "data", sleeper, a_policy(vendor, 20_000.0))
    hospital.rounds._elapsed = lambda: sleeper.clock
    hospital.admit_images(30)
    offer(hospital, vendor, with_weights(tmp_path), "job1")

    for number, sleeper.takes in enumerate((0.01, 0.234, 7.77), 1):
        hospital.desk.take_task(
            job_pb2.RoundTask(task_id=f"job1.{number}", job_id="job1", round=number)
        )
        stop = Waits()
        hospital.desk._job(stop)
        ticks = (sleeper.takes + stop.seconds) / ROUND_TICK_SECONDS
        assert ticks == pytest.approx(round(ticks))
        assert 1 <= ticks <= sleeper.takes / ROUND_TICK_SECONDS + 1 + 1e-6

    wall = job_manifest.Resources().wall_seconds
    assert hospital.bits.spent("acme") >= 3 * log2(wall / ROUND_TICK_SECONDS)
    hospital.close()


def test_a_failed_attempt_costs_the_word_it_is_told_by(hospital, vendor, tmp_path):
    hospital.admit_images(30)
    offer(hospital, vendor, with_weights(tmp_path, "raise SystemExit('ZHANG^WEI')\n"), "job1")

    outcome = run_round(hospital, "job1", 1)

    assert outcome.code == "code_failed"
    assert 15 < hospital.bits.spent("acme") < 17  # log2 of all words, and of all moments


@pytest.mark.parametrize(
    ("patients", "at_most", "code"),
    [(30, 7_000.0, "vendor_budget"), (0, 20_000.0, "cohort_too_small")],
)
def test_a_refusal_that_rests_on_who_is_here_costs_its_word(
    hospital, vendor, tmp_path, patients, at_most, code
):
    hospital.policy = a_policy(vendor, at_most)
    hospital.admit_images(patients)
    offer(hospital, vendor, with_weights(tmp_path), "job1")

    outcome = run_round(hospital, "job1", 1)

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, code)
    assert 15 < hospital.bits.spent("acme") < 17


def test_a_charge_is_made_once_and_never_past_the_bound(tmp_path):
    bits = BitsLedger.open(tmp_path / "bits.db")
    charge = Charge("t1/update", "acme", "nodule/x", 60.0)

    assert bits.charge(charge, 100)
    assert bits.charge(charge, 100)
    assert not bits.charge(Charge("t2/update", "acme", "other/y", 60.0), 100)
    assert bits.charge(Charge("t2/update", "else", "other/y", 60.0), 100)
    assert bits.spent("acme") == 60


def test_a_release_without_a_bound_is_counted_apart(tmp_path):
    bits = BitsLedger.open(tmp_path / "bits.db")

    bits.charge(Charge("t1/update", "acme", "nodule/x", -1.0, -1.0), 100)

    (account,) = bits.accounts()
    assert (account.bits, account.unbounded, account.exact) == (0, 1, 1)


def test_a_data_set_has_one_name_in_whatever_order_it_is_asked_for():
    text = (
        'name = "a"\nkind = "evaluation"\npurpose = "p"\nlabel = "l"\n'
        '[[cohort]]\nfield = "{}"\nvalues = ["{}"]\n[[cohort]]\nfield = "{}"\nvalues = ["{}"]\n'
    )
    one = job_manifest.parse_manifest(text.format("Modality", "CT", "PatientSex", "F"))
    other = job_manifest.parse_manifest(text.format("PatientSex", "F", "Modality", "CT"))

    assert dataset_of(one) == dataset_of(other)
