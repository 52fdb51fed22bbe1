"""What a hospital's policy says of secure sums: demanded, with whom, and how it is told."""

from datetime import timedelta
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.training.unmasking import Layout
from gateway.app.backup import _databases, _files
from gateway.app.outbound import sum_key
from gateway.config import load
from gateway.desk.book import Book
from gateway.desk.outcomes import compose
from gateway.desk.rules import JobStage, TaskStage
from gateway.desk.sum_book import SumBook, SumStage
from gateway.model import Isolation
from gateway.policy import DEFAULT_POLICY_TOML, load_policy, parse_policy, pin_hospital
from gateway.sandbox.workspace import Workspace
from protos import bundle, job_manifest, tensors
from protos.job_manifest import PLAIN_RUNTIME
from protos.v1 import job_pb2
from tests.fakes.brightness import JOB_TOML, SCHEMA, Signer, a_bundle
from tests.fakes.running_gateway import Gateway
from tests.fakes.summing import acquainted, enter

pytestmark = pytest.mark.flow
SUMMED = 'sum = "secure"\n' + JOB_TOML
RUNNER = SimpleNamespace(
    runtimes=frozenset({PLAIN_RUNTIME}), isolation=Isolation.BUBBLEWRAP, gpus=0
)
KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.fixture
def vendor():
    return Signer(Ed25519PrivateKey.generate())


def decided(hospital, vendor, raw, kind=job_pb2.JOB_KIND_TRAINING, rounds=3):
    """Return what a hospital's own rules say to an offer."""
    hospital.hold(raw)
    hospital.desk.take_offer(
        job_pb2.JobOffer(
            job_id="job1",
            bundle_digest=bundle.digest(raw),
            bundle_size=len(raw),
            vendor_key=vendor.public,
            vendor_signature=bundle.sign(raw, vendor.key),
            kind=kind,
            rounds=rounds,
        )
    )
    hospital.desk._job(Event())
    row = hospital.book.job("job1")
    return row.stage, row.rule


@pytest.mark.parametrize(
    ("toml", "names", "terms", "verdict"),
    [
        (JOB_TOML, "abc", {"demanded": True}, (JobStage.REFUSED, "secure_sum_only")),
        (JOB_TOML, "abc", {}, (JobStage.APPROVED, "")),
        (SUMMED, "abc", {"demanded": True}, (JobStage.APPROVED, "")),
        (SUMMED, "abc", {"least": 5}, (JobStage.REFUSED, "roster_unpinned")),
        (JOB_TOML, "abc", {"least": 5}, (JobStage.APPROVED, "")),
    ],
)
def test_a_policy_decides_how_updates_travel(tmp_path, vendor, toml, names, terms, verdict):
    hospital = acquainted(tmp_path, RUNNER, names, vendor.public, **terms)["a"]

    assert decided(hospital, vendor, a_bundle(tmp_path, manifest=toml)) == verdict


def test_a_test_of_a_model_leaves_by_a_policy_that_demands_sums_of_updates(tmp_path, vendor):
    hospital = acquainted(tmp_path, RUNNER, "abc", vendor.public, demanded=True)["a"]
    toml = JOB_TOML.replace("training", "evaluation").replace("rounds = 3", "rounds = 1")
    raw = a_bundle(tmp_path, manifest=toml)

    stage, rule = decided(hospital, vendor, raw, job_pb2.JOB_KIND_EVALUATION, 1)

    assert (stage, rule) in {(JobStage.APPROVED, ""), (JobStage.WAITING, "")}


def test_a_policy_can_demand_sums_of_a_tests_statistics_too(tmp_path, vendor):
    hospital = acquainted(tmp_path, RUNNER, "abc", vendor.public, demanded_of_tests=True)["a"]
    toml = JOB_TOML.replace("training", "evaluation").replace("rounds = 3", "rounds = 1")
    raw = a_bundle(tmp_path, manifest=toml)

    verdict = decided(hospital, vendor, raw, job_pb2.JOB_KIND_EVALUATION, 1)

    assert verdict == (JobStage.REFUSED, "secure_sum_only")


def test_the_steward_reads_that_a_job_is_summed(tmp_path, vendor):
    from gateway.desk.dossier import leaves

    hospital = acquainted(tmp_path, RUNNER, "abc", vendor.public)["a"]
    decided(hospital, vendor, a_bundle(tmp_path, manifest=SUMMED))

    assert hospital.desk.approval("job1").summed
    said = leaves(job_manifest.parse_manifest(SUMMED))
    assert "in a secure sum" in said[0]
    assert not any("secure sum" in line for line in leaves(job_manifest.parse_manifest(JOB_TOML)))


def test_a_sum_nobody_finishes_ends_and_its_secrets_go(tmp_path):
    hospital = acquainted(tmp_path, None, "abc")["a"]
    task = enter(hospital, np.zeros(5))
    with hospital.book._transaction() as write:
        timed = job_pb2.RoundTask()
        timed.CopyFrom(task)
        timed.deadline.FromDatetime(hospital.now)
        write.execute("UPDATE task SET body = ?", (timed.SerializeToString(),))

    hospital.desk._sum(Event())
    assert hospital.book.task(task.task_id).stage is TaskStage.SUMMING
    hospital.now += timedelta(minutes=2)
    hospital.desk._sum(Event())

    row = hospital.book.task(task.task_id)
    assert (row.stage, row.code) == (TaskStage.REFUSED, "sum_unfinished")
    session = hospital.sum_book.find(task.task_id)
    assert (session.stage, session.secrets) == (SumStage.ENDED, b"")


def test_a_steward_who_repents_takes_the_hospital_out_of_its_sum(tmp_path):
    hospital = acquainted(tmp_path, None, "abc")["a"]
    task = enter(hospital, np.zeros(5))
    secrets = hospital.sum_book.find(task.task_id).secrets
    # As from a command, in another process: only the desk's book is written.
    with_the_command = Book.open(hospital.directory / "desk" / "desk.db")
    with_the_command.decide("job1", JobStage.REJECTED, by="li")

    hospital.desk._sum(Event())

    row = hospital.book.task(task.task_id)
    assert (row.stage, row.code) == (TaskStage.REFUSED, "withdrawn")
    assert hospital.sum_book.find(task.task_id).secrets == b""
    files = (hospital.directory / "sums").glob("sums.db*")
    assert not any(secrets[:32] in file.read_bytes() for file in files)


def test_a_key_is_told_pinned_and_shown_by_commands(tmp_path):
    (tmp_path / "house").mkdir()
    gateway = Gateway(tmp_path / "house")

    before = gateway.json("sums")
    pinned = gateway.json("policy", "pin-hospital", "anlan", KEY.upper(), "--by", "li")
    twice = gateway("policy", "pin-hospital", "anlan", "1" * 64, expect=4)
    neither = gateway("policy", "pin-hospital", "other", tmp_path / "nothing", expect=4)
    after = gateway.json("sums")

    config = load(gateway.settings)
    own = sum_key(config).public_key().public_bytes_raw().hex()
    assert (before["sum_key"], before["pinned"], before["sums"]) == (own, [], [])
    assert pinned == {"hospital": "anlan", "public_key": KEY}
    assert "two hospitals have the same name" in twice.stderr
    assert "neither 64 hex digits nor a file" in neither.stderr
    assert after["pinned"] == ["anlan"]
    assert load_policy(config.policy_file).jobs.sums.pinned() == {"anlan": bytes.fromhex(KEY)}
    assert "no secure sum yet" in gateway("sums").stdout
    assert "hospital_pinned" in gateway("audit", "ls").stdout
    # A sum brought back from a backup would reveal what it had not revealed by then.
    SumBook.open(config.sums_file).close()
    saved = [*_files(config.data), *_databases(config.data)]
    assert not [path for path in saved if path.startswith("sums")]
    assert "privacy.db" in saved or "audit.db" in saved


def test_the_policy_as_it_is_made_demands_nothing_and_knows_nobody():
    terms = parse_policy(DEFAULT_POLICY_TOML).jobs.sums

    assert (terms.demanded, terms.roster_at_least, terms.hospitals) == (False, 5, ())
    text = pin_hospital(DEFAULT_POLICY_TOML, "anlan", KEY)
    assert parse_policy(text).jobs.sums.pinned() == {"anlan": bytes.fromhex(KEY)}


def composed(hospital, kind, outputs, *, evaluate_only=False, cases=40):
    """Return what a finished run of a summed job says, and what it leaves to be masked."""
    toml = SUMMED.replace('"training"', f'"{kind}"').replace("rounds = 3", "rounds = 1")
    manifest = job_manifest.parse_manifest(toml)
    truth = {f"c{number}": number % 2 for number in range(cases)}
    task = job_pb2.RoundTask(task_id=kind, job_id="j", round=1, evaluate_only=evaluate_only)
    workspace = Workspace(hospital.directory, "", 50, 50, truth)
    old = tensors.encode({"w": np.zeros(2)}, SCHEMA)
    found = compose(task, outputs, manifest, workspace, 50.0, old, hospital.gate)
    kept = hospital.shelf.find(f"{kind}/summand")
    numbers = None if kept is None else np.frombuffer(hospital.shelf.mapped(kept), "<i4")
    return found, numbers, Layout.of(manifest, trains=not evaluate_only)


def predictions(cases=40):
    rows = (f"c{number},{0.9 if number % 2 else 0.1}" for number in range(cases))
    return ("case,score\n" + "\n".join(rows) + "\n").encode()


def test_what_each_kind_of_job_adds_has_the_form_the_adding_side_expects(tmp_path):
    hospital = acquainted(tmp_path, None, "abc")["a"]
    update = tensors.encode({"w": np.array([0.3, -0.1])}, SCHEMA)
    scores = {"predictions.csv": predictions()}

    kinds = {
        "training": composed(hospital, "training", scores | {"weights.safetensors": update}),
        "evaluation": composed(hospital, "evaluation", scores, evaluate_only=True),
        "analytics": composed(hospital, "analytics", {"weights.safetensors": update}),
    }

    for found, numbers, layout in kinds.values():
        assert found.state == job_pb2.TASK_STATE_RELEASED
        assert len(numbers) == layout.values + layout.cells
        assert len(found.update_digest) == 32
    assert [len(numbers) for _, numbers, _ in kinds.values()] == [402, 400, 2]
    assert kinds["evaluation"][1].sum() == kinds["training"][1][2:].sum() == 40
    # The bits of what is summed are charged in full, the histogram's too.
    assert kinds["evaluation"][0].leakage_bits > 100


def test_too_few_cases_are_counted_as_nobody(tmp_path):
    hospital = acquainted(tmp_path, None, "abc")["a"]
    update = tensors.encode({"w": np.array([0.3, -0.1])}, SCHEMA)
    outputs = {"predictions.csv": predictions(6), "weights.safetensors": update}

    _, numbers, _ = composed(hospital, "training", outputs, cases=6)

    assert not numbers[2:].any()


def test_a_training_without_an_update_or_a_bound_adds_nothing(tmp_path):
    hospital = acquainted(tmp_path, None, "abc")["a"]

    missing, numbers, _ = composed(hospital, "training", {"predictions.csv": predictions()})

    assert (missing.code, numbers) == ("update_missing", None)
