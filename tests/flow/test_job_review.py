"""What a steward's commands say of a vendor's job: before it is approved, and after it failed."""

import json
import re
from threading import Event
from time import monotonic

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app.build import build_audit, build_policy
from gateway.app.outbound import build_desk, build_gate, trusted_runner
from gateway.config import load
from gateway.store.index import Index
from protos import bundle, tensors
from protos.v1 import job_pb2
from tests.fakes.brightness import JOB_PY, SCHEMA, Signer, a_bundle
from tests.fakes.hospital import ADD_LABEL, facts, write_image
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow

PATIENTS = 40
TELLS = """
def train(cohort, weights, config):
    patient = "ZHANG^WEI 13800138000"
    print("now at", patient, flush=True)
    raise ValueError(f"{patient}: no such patient")
"""


class Steward:
    """One hospital's house, its commands, and the desk that the running gateway would have."""

    def __init__(self, home):
        self.command = Gateway(home)
        self.vendor = Signer(Ed25519PrivateKey.generate())
        self.config = load(self.command.settings)
        policy = self.config.policy_file
        policy.write_text(policy.read_text().replace("reviewers = 2 ", "reviewers = 0 "))
        self.command("policy", "pin-vendor", "acme", self.vendor.public.hex())
        self._admit()
        rules = build_policy(self.config)
        self.gate, self.audit = build_gate(self.config, rules), build_audit(self.config)
        self.desk = build_desk(
            self.config, rules, self.gate, self.audit, trusted_runner(self.config)
        )

    def _admit(self):
        self.config.store_dir.mkdir(exist_ok=True)
        for number in range(PATIENTS):
            path = self.config.store_dir / f"{number}.dcm"
            write_image(path, bright=number % 2 == 1, seed=number)
        index = Index.open(self.config.index_file)
        index.add([facts(number) for number in range(PATIENTS)])
        words = ["NEGATIVE", "POSITIVE"]
        rows = [(f"2.25.{n}2", "nodule", words[n % 2]) for n in range(PATIENTS)]
        with index.transaction() as connection:
            connection.executemany(ADD_LABEL, rows)
        index.close()

    def offer(self, folder, job_id, code=JOB_PY):
        where = folder / job_id
        (where / "bundle").mkdir(parents=True)
        weights = tensors.encode({"w": np.zeros(2)}, SCHEMA)
        (where / "bundle" / "weights.safetensors").write_bytes(weights)
        raw = a_bundle(where, code)
        self._hold(raw)
        self.desk.take_offer(
            job_pb2.JobOffer(
                job_id=job_id,
                bundle_digest=bundle.digest(raw),
                bundle_size=len(raw),
                vendor_key=self.vendor.public,
                vendor_signature=bundle.sign(raw, self.vendor.key),
                kind=job_pb2.JOB_KIND_TRAINING,
                rounds=3,
            )
        )
        self.work()

    def run_round(self, job_id):
        self.desk.take_task(job_pb2.RoundTask(task_id=f"{job_id}.1", job_id=job_id, round=1))
        self.work()

    def work(self):
        stop, deadline = Event(), monotonic() + 60
        while self.desk._job(stop) or self.desk.wanted():
            assert monotonic() < deadline

    def _hold(self, raw):
        from gateway.desk.objects import Wanted

        wanted = Wanted(bundle.digest(raw), len(raw))
        self.desk.objects.append(wanted, raw)
        self.desk.objects.finish(wanted)


@pytest.fixture
def steward(tmp_path):
    return Steward(tmp_path)


def test_a_job_is_shown_with_what_would_leave_and_what_it_costs(steward, tmp_path):
    steward.offer(tmp_path, "job1")

    shown = steward.command.json("approvals", "show", "job1")

    assert shown["purpose"].startswith("Find bright squares")
    assert any("2 values, clipped jointly to norm 1" in line for line in shown["leaves"])
    assert any("noise N(0, 0.01^2)" in line for line in shown["leaves"])
    assert shown["cost"]["bits_all_rounds"] > 3 * 7213
    assert shown["cost"]["vendor_bits_spent"] == 0
    assert "delta 1e-06" in shown["cost"]["epsilon_all_rounds"]
    assert shown["approved_before"].startswith("nothing")
    assert set(shown["files"]) == {"job.py", "job.toml", "weights.safetensors"}


def test_the_cohorts_size_is_told_with_noise_and_paid_for_once(steward, tmp_path):
    steward.offer(tmp_path, "job1")

    first = steward.command.json("approvals", "show", "job1")["cohort_patients"]
    second = steward.command.json("approvals", "show", "job1")["cohort_patients"]

    assert first == second
    assert re.fullmatch(r"about \d+, with noise", first)
    privacy = steward.desk._rounds._cohorts._weighing._privacy
    ((rho, answers),) = privacy.spenders(privacy._now().year).values()
    assert (float(rho), answers) == (0.005, 1)


def test_what_changed_since_the_last_approved_version_is_a_diff(steward, tmp_path):
    steward.offer(tmp_path, "job1")
    steward.command("approvals", "approve", "job1", "--by", "li")
    steward.offer(tmp_path, "job2", JOB_PY.replace("range(50)", "range(500)"))

    shown = steward.command.json("approvals", "show", "job2")
    told = steward.command("approvals", "show", "job2").stdout

    assert shown["approved_before"] == "job1"
    assert "-    for _ in range(50):\n+    for _ in range(500):" in shown["changes"]
    assert "\n  +    for _ in range(500):\n" in told


def test_a_dry_run_says_how_it_would_end_and_nothing_leaves(steward, tmp_path):
    steward.offer(tmp_path, "job1")

    tried = steward.command.json("approvals", "try", "job1", "--by", "li")

    assert tried["ended"] == "would be released"
    assert 2 <= tried["patients"] <= 8
    assert tried["update_norm"] > 0
    assert "loss" in tried["metrics"]
    assert steward.command.json("ledger", "verify")["total_bytes"] == 0
    assert steward.command.json("ledger", "bits") == []
    assert not list(steward.config.desk_dir.glob("try-*"))
    assert not list((steward.config.desk_dir / "updates").glob("*"))
    assert steward.command.json("approvals", "show", "job1")["tried"]["ended"] == tried["ended"]
    assert "job_tried" in {row["event"] for row in steward.command.json("audit", "ls")}


def test_a_hospital_for_tests_shows_its_patients_to_no_dry_run(steward, tmp_path):
    steward.offer(tmp_path, "job1")
    policy = steward.config.policy_file
    named = re.sub(
        r"(?m)^test_hospital_for = .*$", 'test_hospital_for = ["nodule"]', policy.read_text()
    )
    policy.write_text(named)

    refused = steward.command("approvals", "try", "job1", "--by", "li", expect=6)

    assert "for tests of its label" in refused.stderr
    assert "job_tried" not in {row["event"] for row in steward.command.json("audit", "ls")}


def test_a_dry_run_of_a_job_that_tells_shows_no_patient(steward, tmp_path):
    steward.offer(tmp_path, "job1", TELLS)

    told = steward.command("approvals", "try", "job1").stdout

    assert "code_failed" in told
    assert "ZHANG" not in told
    assert "13800138000" not in told


def test_a_job_that_prints_a_patient_ends_with_a_word_and_its_log_stays(steward, tmp_path):
    steward.offer(tmp_path, "job1", TELLS)
    steward.command("approvals", "approve", "job1", "--by", "li")
    steward.run_round("job1")

    said = [report.body for report in steward.desk.outbox()]
    shown = steward.command.json("approvals", "log", "job1")
    events = steward.command.json("audit", "ls")

    assert any(b"code_failed" in body for body in said)
    assert not any(b"ZHANG" in body or b"1380013" in body for body in said)
    assert "ZHANG" not in json.dumps([shown, events])
    assert 'File "/job/code/job.py", line 5, in train' in shown["log"]
    assert "ValueError" in shown["log"]
    assert {"round_ended"} <= {row["event"] for row in events}


def test_a_log_is_released_by_hand_charged_and_in_the_ledger(steward, tmp_path):
    steward.offer(tmp_path, "job1", TELLS)
    steward.command("approvals", "approve", "job1", "--by", "li")
    steward.run_round("job1")
    before = steward.command.json("ledger", "bits")[0]["bits"]
    out = tmp_path / "for-the-vendor.txt"

    done = steward.command.json("approvals", "log", "job1", "--release", out, "--by", "li")

    assert out.read_text().strip() == steward.command.json("approvals", "log", "job1")["log"]
    (entry,) = steward.command.json("ledger", "ls")
    assert (entry["kind"], entry["approved_by"], entry["size"]) == ("log", "li", done["bytes"])
    assert "ZHANG" not in steward.command("ledger", "show", entry["number"]).stdout
    after = steward.command.json("ledger", "bits")[0]["bits"]
    assert after - before == pytest.approx(8 * done["bytes"])
    again = steward.command("approvals", "log", "job1", "--release", out, expect=4)
    assert "exists already" in again.stderr
    exported = steward.command.json("ledger", "export", tmp_path / "ledger.jsonl")
    assert exported["entries"] == 1


def test_a_spent_budget_keeps_a_log_in(steward, tmp_path):
    steward.offer(tmp_path, "job1", TELLS)
    steward.command("approvals", "approve", "job1", "--by", "li")
    steward.run_round("job1")
    policy = steward.config.policy_file
    policy.write_text(re.sub(r"(per_vendor_at_most = )[0-9.]+", r"\g<1>10.0", policy.read_text()))
    out = tmp_path / "for-the-vendor.txt"

    refused = steward.command("approvals", "log", "job1", "--release", out, expect=7)

    assert "acme has spent its bits" in refused.stderr
    assert not out.exists()


def test_a_job_without_a_log_or_a_bundle_is_one_sentence(steward, tmp_path):
    steward.offer(tmp_path, "job1")

    assert "no round of job1" in steward.command("approvals", "log", "job1", expect=4).stderr
    assert "no job job9" in steward.command("approvals", "try", "job9", expect=4).stderr
