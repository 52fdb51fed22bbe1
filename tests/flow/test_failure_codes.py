"""A failure a vendor can act on: closed words, and beside them names of the manifest only."""

from threading import Thread
from time import monotonic, sleep

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.desk.rules import JobStage, with_subject
from gateway.policy import Jobs, Policy, StandingRule, Vendor
from gateway.release.gate import GateShut
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1 import job_pb2
from tests.fakes.brightness import JOB_TOML, SCHEMA, Signer
from tests.fakes.hospital import Hospital
from tests.flow.test_vendor_budget import run_round, work

pytestmark = pytest.mark.flow

DECLARING = JOB_TOML.replace("rounds = 3", 'rounds = 3\nimports = ["torch", "monai"]')
WRONG_SHAPE = """
import numpy as np
def train(cohort, weights, config):
    return {"w": np.zeros(3, "float32")}
"""
HANGS = """
import time
def train(cohort, weights, config):
    time.sleep(600)
"""
HOG = """
def train(cohort, weights, config):
    held = [bytearray(b"x" * (8 << 20)) for _ in range(1000)]
"""


@pytest.fixture
def vendor():
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=1 << 30))


@pytest.fixture
def hospital(tmp_path, vendor, runner):
    jobs = Jobs(vendors=(Vendor(name="acme", public_key=vendor.public.hex()),))
    found = Hospital(tmp_path / "data", runner, Policy(jobs=jobs))
    found.admit_images(30)
    return found


def offer(hospital, vendor, tmp_path, code, manifest=DECLARING, *, approve=True):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "job.py").write_text(code)
    (folder / "job.toml").write_text(manifest)
    (folder / "weights.safetensors").write_bytes(tensors.encode({"w": np.zeros(2)}, SCHEMA))
    raw = bundle.pack(folder)
    hospital.hold(raw)
    hospital.desk.take_offer(
        job_pb2.JobOffer(
            job_id="job1",
            bundle_digest=bundle.digest(raw),
            bundle_size=len(raw),
            vendor_key=vendor.public,
            vendor_signature=bundle.sign(raw, vendor.key),
            kind=job_pb2.JOB_KIND_TRAINING,
            rounds=3,
        )
    )
    work(hospital)
    if approve:
        hospital.desk.approve("job1", "Dr. Steward")
    return raw


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("import monai.networks\n", "import_missing:monai"),
        ("import torch\n", "import_missing:torch"),
        ("import zhang_wei_was_here\n", "import_missing"),
        (WRONG_SHAPE, "schema_mismatch:w"),
        ("import os\nos._exit(201)\n", "import_missing:monai"),  # chosen, and charged as a choice
        ("import os\nos._exit(231)\n", "import_missing"),
        (HOG, "out_of_memory"),
        (HANGS, "wall_limit"),
    ],
    ids=["second", "first", "undeclared", "tensor", "chosen", "beyond", "memory", "wall"],
)
def test_a_failure_names_what_the_manifest_names(hospital, vendor, tmp_path, code, word):
    short = DECLARING.replace("wall_seconds = 60", "wall_seconds = 2")
    offer(hospital, vendor, tmp_path, code, short.replace("memory_mb = 1024", "memory_mb = 256"))

    outcome = run_round(hospital, "job1", 1)

    assert outcome.code == word
    names = hospital.desk.declared_names("job1.1")
    assert hospital.gate.outcome("r", outcome, "policy", (), names).payload


@pytest.mark.parametrize("code", ["schema_mismatch:ZHANG^WEI", "schema_mismatch:", "w:w"])
def test_the_gate_lets_no_other_name_out(hospital, code):
    state = job_pb2.TASK_STATE_WITHHELD
    told = job_pb2.TaskOutcome(task_id="job1.1", state=state, code=code)

    with pytest.raises(GateShut):
        hospital.gate.outcome("r", told, "policy", (), {"w"})


def test_a_name_too_long_for_the_treaty_is_left_out():
    assert with_subject("schema_mismatch", "w" * 60) == "schema_mismatch"
    assert with_subject("schema_mismatch", "w") == "schema_mismatch:w"


def test_a_bundle_that_was_changed_after_approval_does_not_run(hospital, vendor, tmp_path):
    raw = offer(hospital, vendor, tmp_path, WRONG_SHAPE)
    kept = hospital.objects.path(bundle.digest(raw))
    kept.chmod(0o644)
    kept.write_bytes(raw.replace(b"zeros(3", b"zeros(2"))

    outcome = run_round(hospital, "job1", 1)

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, "bad_digest")
    assert not kept.exists()
    assert not list((tmp_path / "data" / "desk" / "jobs").glob("*/code"))
    assert hospital.bits.spent("acme") == 0


def test_too_many_cases_without_a_label_are_a_word(hospital, vendor, tmp_path):
    with hospital.index.transaction() as connection:
        connection.execute("DELETE FROM label WHERE series_uid LIKE '2.25.1%'")
    manifest = DECLARING.replace("rounds = 3", "rounds = 3\nunlabelled_share_at_most = 0.1")
    offer(hospital, vendor, tmp_path, WRONG_SHAPE, manifest)

    assert run_round(hospital, "job1", 1).code == "labels_missing"


def test_a_cohort_of_nobody_is_refused_by_a_word(hospital, vendor, tmp_path):
    manifest = DECLARING.replace('values = ["CT"]', 'values = ["MR"]')
    offer(hospital, vendor, tmp_path, WRONG_SHAPE, manifest)
    hospital.policy = Policy(jobs=hospital.policy.jobs.model_copy(update={"min_patients": 1000}))

    outcome = run_round(hospital, "job1", 1)

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, "cohort_too_small")


def test_a_steward_who_repents_stops_a_running_job_within_seconds_for_good(
    hospital, vendor, tmp_path
):
    offer(hospital, vendor, tmp_path, HANGS)
    beside = Thread(target=run_round, args=(hospital, "job1", 1))
    beside.start()
    while hospital.book.task("job1.1") is None or hospital.book.task("job1.1").stage != "running":
        sleep(0.02)
    sleep(0.3)
    began = monotonic()

    hospital.desk.reject("job1", "Dr. Steward", "not ours after all")
    beside.join()

    assert monotonic() - began < 10
    assert hospital.book.task("job1.1").code == "withdrawn"
    assert hospital.book.job("job1").stage is JobStage.REJECTED
    assert run_round(hospital, "job1", 2).code == "not_approved"


@pytest.mark.parametrize(
    ("asks", "for_more"),
    [
        ("memory_mb = 1024", "memory_mb = 1000000"),
        ("wall_seconds = 60", "wall_seconds = 600000"),
    ],
)
def test_a_manifest_that_asks_for_more_than_policy_is_refused(
    hospital, vendor, tmp_path, asks, for_more
):
    offer(hospital, vendor, tmp_path, WRONG_SHAPE, DECLARING.replace(asks, for_more), approve=False)

    job = hospital.book.job("job1")
    assert (job.stage, job.rule) == (JobStage.REFUSED, "resources")
    assert not list((tmp_path / "data" / "desk").glob("jobs/*"))
    assert "job_refused" in {event.event for event in hospital.audit.events()}


@pytest.mark.parametrize(
    ("rule", "stage"),
    [
        ({}, JobStage.APPROVED),
        ({"kind": "evaluation"}, JobStage.WAITING),
        ({"vendor": "other"}, JobStage.WAITING),
        ({"bundle": "0" * 64}, JobStage.WAITING),
        ({"max_leakage_bits": 10_000.0}, JobStage.WAITING),
        ({"max_rounds": 2}, JobStage.WAITING),
    ],
    ids=["all", "kind", "vendor", "digest", "cost", "rounds"],
)
def test_a_standing_rule_holds_in_each_of_its_conditions(hospital, vendor, tmp_path, rule, stage):
    standing = StandingRule(**{"vendor": "acme", "max_leakage_bits": 30_000.0} | rule)
    jobs = hospital.policy.jobs.model_copy(update={"standing": (standing,)})
    hospital.policy = Policy(jobs=jobs)

    offer(hospital, vendor, tmp_path, WRONG_SHAPE, approve=False)

    assert hospital.book.job("job1").stage is stage
