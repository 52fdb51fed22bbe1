from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.desk.rules import JobStage, TaskStage
from gateway.model import Isolation
from gateway.policy import Jobs, Policy, StandingRule, Trust, Vendor
from gateway.sandbox import gpus
from gateway.sandbox.rules import Device, Limits
from gateway.sandbox.runner import JobFailed, Runner
from protos import bundle, tensors
from protos.transcripts import bears_its_signature, part_of
from protos.v1 import job_pb2
from tests.fakes.brightness import JOB_PY, JOB_TOML, SCHEMA, Signer, a_bundle
from tests.fakes.hospital import Hospital
from tests.fakes.story import Story

pytestmark = pytest.mark.flow


@pytest.fixture
def vendor():
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=2 << 30))


@pytest.fixture
def hospital(tmp_path, vendor, runner):
    jobs = Jobs(vendors=(Vendor(name="acme", public_key=vendor.public.hex()),))
    return Hospital(tmp_path / "data", runner, Policy(jobs=jobs))


def an_offer(raw, vendor, job_id="job1"):
    return job_pb2.JobOffer(
        job_id=job_id,
        bundle_digest=bundle.digest(raw),
        bundle_size=len(raw),
        vendor_key=vendor.public,
        vendor_signature=bundle.sign(raw, vendor.key),
        kind=job_pb2.JOB_KIND_TRAINING,
        rounds=3,
    )


def a_task(hospital, number=1, job_id="job1", **more):
    weights = tensors.encode({"w": np.zeros(2)}, SCHEMA)
    digest = hospital.hold(weights)
    return job_pb2.RoundTask(
        task_id=f"{job_id}.{number}",
        job_id=job_id,
        round=number,
        weights_digest=digest,
        weights_size=len(weights),
        **more,
    )


def work(hospital, seconds=60.0):
    """Let the desk work until nothing is left to do."""
    stop = Event()
    deadline = monotonic() + seconds
    while hospital.desk._job(stop) or hospital.desk.wanted():
        assert monotonic() < deadline


def outcomes(hospital):
    return [
        job_pb2.TaskOutcome.FromString(report.body)
        for report in hospital.desk.outbox()
        if report.kind == "outcome"
    ]


def approved(hospital, vendor, tmp_path, **kinds):
    raw = a_bundle(tmp_path, **kinds)
    hospital.hold(raw)
    hospital.desk.take_offer(an_offer(raw, vendor))
    work(hospital)
    hospital.desk.approve("job1", "Dr. Steward")


def test_an_approved_round_releases_a_noised_update_and_statistics(hospital, vendor, tmp_path):
    hospital.admit_images(60)
    approved(hospital, vendor, tmp_path)

    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    (outcome,) = outcomes(hospital)
    assert outcome.state == job_pb2.TASK_STATE_RELEASED, outcome.code
    update = hospital.shelf.find("job1.1")
    assert update.digest == outcome.update_digest.hex()
    payload = hospital.shelf.chunk(update, 0, update.size)
    delta = tensors.decode(payload, SCHEMA)["w"]
    assert 0.8 < np.linalg.norm(delta) < 1.2  # clipped to 1, noise 0.01
    assert sum(outcome.validation.positives) >= 10
    assert outcome.metrics[0].name == "loss"
    assert outcome.leakage_bits > 7000  # C^2 / (2 sigma^2 ln 2)
    released = hospital.gate.outcome(
        "r", outcome, "Dr. Steward", hospital.rounds.declared_metrics("job1.1")
    )
    assert released.payload


def test_a_released_update_is_never_noised_twice(hospital, vendor, tmp_path):
    hospital.admit_images(40)
    approved(hospital, vendor, tmp_path)
    task = a_task(hospital)
    hospital.desk.take_task(task)
    work(hospital)
    first = hospital.shelf.find("job1.1")
    # As if the power had failed between the release and the report.
    with hospital.book._transaction() as write:
        write.execute("UPDATE task SET stage = 'running'")
        write.execute("DELETE FROM report WHERE kind = 'outcome'")
    a_task(hospital)  # its weights are still there
    hospital.close()
    hospital.open()

    work(hospital)

    (outcome,) = outcomes(hospital)
    assert outcome.update_digest.hex() == first.digest
    assert len(list((tmp_path / "data/desk/updates").glob("*.safetensors"))) == 1


def test_a_job_that_is_over_leaves_no_images_on_the_desk(hospital, vendor, tmp_path):
    hospital.admit_images(30)
    approved(hospital, vendor, tmp_path)
    hospital.desk.take_task(a_task(hospital))
    work(hospital)
    assert list((tmp_path / "data/desk/jobs").rglob("*.dcm"))

    hospital.desk.withdraw("job1")
    work(hospital)

    assert not list((tmp_path / "data/desk/jobs").rglob("*.dcm"))


def test_a_policy_that_was_tightened_holds_for_approved_jobs_too(hospital, vendor, tmp_path):
    hospital.admit_images(30)
    approved(hospital, vendor, tmp_path)
    stricter = hospital.policy.jobs.model_copy(update={"sigma_over_clip_at_least": 0.5})
    hospital.policy = Policy(jobs=stricter)

    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    assert outcomes(hospital)[0].code == "too_little_noise"


def test_only_pinned_signed_and_unaltered_bundles_reach_the_steward(hospital, vendor, tmp_path):
    raw = a_bundle(tmp_path)
    hospital.hold(raw)
    stranger = Signer(Ed25519PrivateKey.generate())
    forged = an_offer(raw, vendor, "forged")
    forged.vendor_signature = bundle.sign(raw, stranger.key)

    hospital.desk.take_offer(an_offer(raw, stranger, "stranger"))
    hospital.desk.take_offer(forged)
    hospital.desk.take_offer(an_offer(raw, vendor, "honest"))
    work(hospital)

    stages = {a.job_id: (a.stage, a.rule) for a in hospital.desk.approvals()}
    assert stages == {
        "stranger": (JobStage.REFUSED, "unknown_vendor"),
        "forged": (JobStage.REFUSED, "bad_signature"),
        "honest": (JobStage.WAITING, ""),
    }


def test_a_standing_rule_approves_and_says_so(hospital, vendor, tmp_path):
    rule = StandingRule(vendor="acme", max_rounds=5, max_leakage_bits=50_000)
    jobs = hospital.policy.jobs.model_copy(update={"standing": (rule,)})
    hospital.policy = Policy(jobs=jobs)
    raw = a_bundle(tmp_path)
    hospital.hold(raw)

    hospital.desk.take_offer(an_offer(raw, vendor))
    work(hospital)

    assert hospital.desk.approval("job1").approved_by == "standing rule 1"


def test_nothing_runs_without_approval(hospital):
    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    (outcome,) = outcomes(hospital)
    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, "not_approved")


def test_a_cohort_too_small_is_refused(hospital, vendor, tmp_path):
    hospital.policy = Policy(jobs=hospital.policy.jobs.model_copy(update={"min_patients": 500}))
    hospital.admit_images(20)
    approved(hospital, vendor, tmp_path)

    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    assert outcomes(hospital)[0].code == "cohort_too_small"


def test_a_vendors_exception_becomes_one_closed_word(hospital, vendor, tmp_path):
    hospital.admit_images(30)
    leaky = "def predict(c, w, g):\n    raise RuntimeError(c.cases[0].patient)\ntrain = predict\n"
    approved(hospital, vendor, tmp_path, code=leaky)

    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    (outcome,) = outcomes(hospital)
    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_FAILED, "code_failed")


def test_a_withdrawal_stops_a_running_job_within_seconds(hospital, vendor, tmp_path):
    hospital.admit_images(30)
    slow = "import time\ndef predict(c, w, g):\n    time.sleep(600)\ntrain = predict\n"
    approved(hospital, vendor, tmp_path, code=slow)
    hospital.desk.take_task(a_task(hospital))
    runs = Thread(target=work, args=(hospital,))
    runs.start()
    while hospital.rounds._watching._current is None:
        sleep(0.05)
    sleep(0.5)

    started = monotonic()
    hospital.desk.withdraw("job1")
    runs.join(20)

    assert monotonic() - started < 5
    assert outcomes(hospital)[0].state == job_pb2.TASK_STATE_REFUSED
    assert hospital.book.task("job1.1").stage is TaskStage.REFUSED


def test_a_round_interrupted_by_a_stop_runs_again(hospital, vendor, tmp_path):
    hospital.admit_images(40)
    approved(hospital, vendor, tmp_path)
    hospital.desk.take_task(a_task(hospital))
    honest = hospital.rounds._runner
    stop = Event()

    class Stopped:
        runtimes, isolation, gpus = honest.runtimes, honest.isolation, honest.gpus

        def run(self, *_, **__):
            stop.set()
            return JobFailed("withdrawn", 0.1, b"")

    hospital.rounds._runner = Stopped()
    hospital.desk._job(stop)
    assert hospital.book.task("job1.1").stage is TaskStage.RUNNING
    hospital.rounds._runner = honest

    work(hospital)

    assert hospital.book.task("job1.1").stage is TaskStage.RELEASED


def test_a_job_for_a_runtime_that_is_absent_is_refused_with_a_code(hospital, vendor, tmp_path):
    raw = a_bundle(tmp_path, manifest='runtime = "torch-cpu"\n' + JOB_TOML)
    hospital.hold(raw)

    hospital.desk.take_offer(an_offer(raw, vendor))
    work(hospital)

    job = hospital.book.job("job1")
    assert (job.stage, job.rule) == (JobStage.REFUSED, "runtime_absent")


@pytest.mark.parametrize(("allowed", "rule"), [(0, "gpu_refused"), (1, "gpu_absent")])
def test_a_job_for_a_gpu_that_is_not_to_be_had_is_refused(
    hospital, vendor, tmp_path, allowed, rule
):
    raw = a_bundle(tmp_path, manifest=JOB_TOML.replace("memory_mb", "gpus = 1, memory_mb"))
    jobs = hospital.policy.jobs.model_copy(update={"gpus_at_most": allowed})
    hospital.policy = hospital.policy.model_copy(update={"jobs": jobs})
    hospital.hold(raw)

    hospital.desk.take_offer(an_offer(raw, vendor))
    work(hospital)

    job = hospital.book.job("job1")
    assert (job.stage, job.rule) == (JobStage.REFUSED, rule)


def test_a_job_that_was_allowed_a_gpu_finds_it(hospital, vendor, tmp_path):
    hospital.admit_images(40)
    null = Device(Path("/dev/null"), "/dev/nvidia0")  # no real one was at hand
    turns = gpus.Turns(gpus.Cards((null,)), tmp_path / "locks")
    hospital.rounds._runner = Runner.on_this_machine(hospital.runner.limits, turns=turns)
    jobs = hospital.policy.jobs.model_copy(update={"gpus_at_most": 1})
    hospital.policy = hospital.policy.model_copy(update={"jobs": jobs})
    code = 'import os\nos.close(os.open("/dev/nvidia0", os.O_RDWR))\n' + JOB_PY
    asks = JOB_TOML.replace("memory_mb", "gpus = 1, memory_mb")
    approved(hospital, vendor, tmp_path, code=code, manifest=asks)

    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    (outcome,) = outcomes(hospital)
    assert outcome.state == job_pb2.TASK_STATE_RELEASED, outcome.code


def test_nothing_runs_in_less_than_the_policy_demands_by_now(hospital, vendor, tmp_path):
    hospital.admit_images(40)
    approved(hospital, vendor, tmp_path)
    jobs = hospital.policy.jobs.model_copy(update={"isolation": Isolation.GVISOR})
    hospital.policy = hospital.policy.model_copy(update={"jobs": jobs})

    hospital.desk.take_task(a_task(hospital))
    work(hospital)

    assert hospital.rounds._runner.isolation is Isolation.BUBBLEWRAP
    assert outcomes(hospital)[-1].code == "sandbox_unavailable"


def test_a_later_round_ends_the_one_that_runs(hospital, vendor, tmp_path):
    hospital.admit_images(30)
    slow = (
        "import time\ndef train(c, w, g):\n    time.sleep(600 if g['round'] == 1 else 0)\n"
        "    return w\n"
    )
    approved(hospital, vendor, tmp_path, code=slow)
    hospital.desk.take_task(a_task(hospital))
    runs = Thread(target=work, args=(hospital,))
    runs.start()
    while hospital.rounds._watching._current is None:
        sleep(0.05)
    sleep(0.5)

    started = monotonic()
    hospital.desk.take_task(a_task(hospital, 2))
    runs.join(20)

    assert monotonic() - started < 10
    assert hospital.book.task("job1.1").code == "superseded"
    assert hospital.book.task("job1.2").stage is TaskStage.RELEASED


def test_a_hospital_signs_its_update_and_looks_for_it_in_the_story(hospital, vendor, tmp_path):
    hospital.policy = hospital.policy.model_copy(
        update={"trust": Trust(signed_questions=False, reviewers=0)}
    )
    hospital.admit_images(40)
    approved(hospital, vendor, tmp_path)
    first = a_task(hospital)
    hospital.desk.take_task(first)
    work(hospital)
    (mine,) = outcomes(hospital)
    assert mine.update_key == hospital.sets.public_key
    assert mine.update_signature
    assert bears_its_signature(mine)
    part = part_of("job1.1", mine.update_digest, mine.weight)

    def told(rounds, parts):
        # In this story no model ever moves: each round starts from the same weights.
        still = {"weights_before": first.weights_digest, "weights_after": first.weights_digest}
        story.parts, made = parts, []
        for number in range(1, rounds + 1):
            story.add(made, number, **still)
        return made

    story = Story(bundle_of(hospital))
    hospital.desk.take_task(
        a_task(hospital, 2, transcripts=told(1, [part]), parts=[part], parts_round=1)
    )
    work(hospital)
    assert hospital.book.task("job1.2").stage is TaskStage.RELEASED
    assert not events(hospital, "update_left_out")

    other = told(2, [part])
    story.parts = [b"o" * 32]
    other[1:] = []
    story.add(other, 2, weights_before=first.weights_digest, weights_after=first.weights_digest)
    hospital.desk.take_task(
        a_task(hospital, 3, transcripts=other[1:], parts=story.parts, parts_round=2)
    )
    work(hospital)

    assert hospital.book.task("job1.3").stage is TaskStage.RELEASED
    assert events(hospital, "update_left_out") == [{"job": "job1", "round": 2}]
    assert not events(hospital, "round_chain_broken")
    assert len(hospital.book.transcripts("job1")) == 2


def bundle_of(hospital):
    return job_pb2.JobOffer.FromString(hospital.book.job("job1").offer).bundle_digest


def events(hospital, name):
    return [event.facts for event in hospital.audit.events() if event.event == name]


ANALYTICS_TOML = """
name = "shares"
kind = "analytics"
purpose = "Count bright slices."
label = "nodule"
clip = 1.0
sigma = 0.01
cohort = [{ field = "Modality", values = ["CT"] }]
outputs.w = { shape = [2] }
resources = { wall_seconds = 60, memory_mb = 1024 }
"""
ANALYTICS_PY = """
import numpy as np

def analyse(cohort, config):
    bright = [volume.values[..., 2:6, 2:6].mean() > 130 for _, volume in cohort.volumes()]
    return {"w": np.array([np.mean(bright), 0.25], np.float32)}
"""


def test_analytics_release_a_noised_table_once_and_measure_no_model(hospital, vendor, tmp_path):
    hospital.admit_images(60)
    raw = a_bundle(tmp_path, ANALYTICS_PY, ANALYTICS_TOML)
    hospital.hold(raw)
    offer = an_offer(raw, vendor)
    offer.kind, offer.rounds = job_pb2.JOB_KIND_ANALYTICS, 1
    hospital.desk.take_offer(offer)
    work(hospital)
    hospital.desk.approve("job1", "Dr. Steward")

    hospital.desk.take_task(a_task(hospital))
    work(hospital)
    hospital.desk.take_task(a_task(hospital, 2, evaluate_only=True))
    work(hospital)

    table, after = outcomes(hospital)
    assert table.state == job_pb2.TASK_STATE_RELEASED, table.code
    update = hospital.shelf.find("job1.1")
    found = tensors.decode(hospital.shelf.chunk(update, 0, update.size), SCHEMA)["w"]
    assert np.allclose(found, [0.5, 0.25], atol=0.2)
    assert table.leakage_bits > 7000
    assert not table.HasField("validation")
    assert after.state == job_pb2.TASK_STATE_RELEASED, after.code
    assert not after.update_digest
