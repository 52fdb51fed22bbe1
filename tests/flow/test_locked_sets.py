"""A product is tested once a look is burnt: real sandbox, real index, real gate."""

import json
from threading import Event

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.model import Pseudonym
from gateway.policy import Jobs, Policy, Tests, Vendor
from gateway.release.gate import GateShut
from gateway.sandbox.rules import Limits, Split, split_of
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.reports import is_signed, statistics_statement
from protos.v1 import job_pb2
from tests.fakes.brightness import JOB_PY, SCHEMA, Signer, a_bundle
from tests.fakes.hospital import SPLIT_KEY, Hospital

pytestmark = pytest.mark.flow
JOB_TOML = """
name = "{name}"
kind = "evaluation"
purpose = "Test a finder of bright squares."
label = "nodule"
cohort = [{{ field = "Modality", values = ["CT"] }}]
weights.w = {{ shape = [2] }}
resources = {{ wall_seconds = 60, memory_mb = 1024 }}

[protocol]
test_set = "squares"
reference = "{reference}"
threshold = 0.5
subgroups = ["PatientSex", "QualityGrade"]
design = "{design}"
readers = true
{more}
"""


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=2 << 30))


@pytest.fixture
def vendor():
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def hospital(tmp_path, vendor, runner):
    jobs = Jobs(vendors=(Vendor(name="acme", public_key=vendor.public.hex()),))
    tests = Tests(looks_per_product=2, test_hospital_for={"nodule"})
    found = Hospital(tmp_path / "data", runner, Policy(jobs=jobs, tests=tests))
    found.admit_images(60)
    return found


def with_tests(hospital, **changes):
    hospital.policy = hospital.policy.model_copy(
        update={"tests": hospital.policy.tests.model_copy(update=changes)}
    )


def a_product(tmp_path, code=JOB_PY, name="squares-1", reference="Drawn so.", **more):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    design = more.pop("design", "external")
    plain = more.pop("plain", False)
    lines = "\n".join(f'{key} = "{value}"' for key, value in more.items())
    text = JOB_TOML.format(name=name, reference=reference, design=design, more=lines)
    (folder / "job.toml").write_text(text.partition("[protocol]")[0] if plain else text)
    (folder / "job.py").write_text(code)
    return bundle.pack(folder)


def run(hospital, vendor, raw, job="job1", kind=job_pb2.JOB_KIND_EVALUATION):
    """Offer, approve and run one job; return its last outcome."""
    hospital.hold(raw)
    rounds = 3 if kind == job_pb2.JOB_KIND_TRAINING else 1
    hospital.desk.take_offer(
        job_pb2.JobOffer(
            job_id=job, bundle_digest=bundle.digest(raw), bundle_size=len(raw),
            vendor_key=vendor.public, vendor_signature=bundle.sign(raw, vendor.key), kind=kind,
            rounds=rounds,
        )
    )  # fmt: skip
    work(hospital)
    hospital.desk.approve(job, "Dr. Steward")
    weights = tensors.encode({"w": np.array([2.0, 0.0])}, SCHEMA)
    hospital.desk.take_task(
        job_pb2.RoundTask(
            task_id=f"{job}.1", job_id=job, round=1, weights_digest=hospital.hold(weights),
            weights_size=len(weights),
        )
    )  # fmt: skip
    work(hospital)
    outcomes = [
        job_pb2.TaskOutcome.FromString(report.body)
        for report in hospital.desk.outbox()
        if report.kind == "outcome"
    ]
    return [one for one in outcomes if one.task_id == f"{job}.1"][-1]


def work(hospital):
    while hospital.desk._job(Event()) or hospital.desk.wanted():
        pass


def said_by(outcome):
    assert outcome.state == job_pb2.TASK_STATE_RELEASED, outcome.code
    return job_pb2.EvaluationStatistics.FromString(outcome.statistics)


def test_a_look_gives_signed_counts_of_all_patients_and_is_on_the_record(
    hospital, vendor, tmp_path
):
    outcome = run(hospital, vendor, a_product(tmp_path))

    assert hospital.desk.approval("job1").test_set == "squares"  # the steward saw which
    said = said_by(outcome)
    cells = {(cell.field, cell.bin): cell for cell in said.cells}
    assert cells.keys() == {("", ""), ("PatientSex", "F"), ("QualityGrade", "UNKNOWN")}
    assert (sum(cells["", ""].positives), sum(cells["", ""].negatives)) == (30, 30)
    assert cells["", ""].true_positives == 30
    assert (said.look, said.looks_left) == (1, 1)
    assert outcome.leakage_bits > 3 * 2 * 30
    statement = statistics_statement("job1.1", outcome.statistics)
    assert is_signed(outcome.statistics_key, outcome.statistics_signature, statement)
    assert hospital.gate.outcome("r", outcome, "Dr. Steward").payload
    (event,) = [e for e in hospital.audit.events() if e.event == "test_set_unlocked"]
    assert (event.facts["test_set"], event.facts["look"]) == ("squares", 1)
    assert [look["product"] for look in hospital.sets.looks()] == ["acme/squares-1"]


def test_looks_end_and_another_job_or_version_brings_none_back(hospital, vendor, tmp_path):
    for number, code in enumerate((JOB_PY, JOB_PY + "\n# better\n")):
        said_by(run(hospital, vendor, a_product(tmp_path, code), f"job{number}"))

    third = run(hospital, vendor, a_product(tmp_path, JOB_PY + "\n# best\n"), "job3")

    assert (third.state, third.code) == (job_pb2.TASK_STATE_REFUSED, "looks_exhausted")
    assert said_by(run(hospital, vendor, a_product(tmp_path, name="other"), "job4")).look == 1


def test_a_protocol_is_fixed_by_the_first_look(hospital, vendor, tmp_path):
    run(hospital, vendor, a_product(tmp_path))

    found = run(hospital, vendor, a_product(tmp_path, reference="Drawn otherwise."), "job2")

    assert found.code == "protocol_differs"


def test_a_hospital_tests_what_it_never_trains_on(hospital, vendor, tmp_path):
    trains = run(hospital, vendor, a_bundle(tmp_path), "train", job_pb2.JOB_KIND_TRAINING)
    assert trains.code == "test_hospital"
    plain = run(hospital, vendor, a_product(tmp_path, name="uncounted", plain=True), "plain")
    assert plain.code == "test_hospital"  # or it could be measured without end

    with_tests(hospital, test_hospital_for=frozenset())
    assert run(hospital, vendor, a_product(tmp_path), "job1").code == "not_a_test_hospital"
    trained = run(hospital, vendor, a_bundle(tmp_path), "train2", job_pb2.JOB_KIND_TRAINING)
    assert trained.state == job_pb2.TASK_STATE_RELEASED, trained.code
    with_tests(hospital, test_hospital_for=frozenset({"nodule"}))
    assert run(hospital, vendor, a_product(tmp_path), "job2").code == "trained_here"


def test_a_test_patient_never_enters_a_training_workspace(hospital, vendor, tmp_path):
    with_tests(hospital, test_hospital_for=frozenset())

    run(hospital, vendor, a_bundle(tmp_path), "train", job_pb2.JOB_KIND_TRAINING)

    (listed,) = (tmp_path / "data/desk/jobs").rglob("cohort.json")
    inside = {e["patient"] for side in json.loads(listed.read_text()).values() for e in side}
    tested = {
        f"p{number:04d}"
        for number in range(60)
        if split_of(Pseudonym(f"p{number:04d}"), SPLIT_KEY) is Split.TEST
    }
    assert tested
    assert inside.isdisjoint(tested)
    assert len(inside) == 60 - len(tested)


def test_the_test_split_alone_is_seen_where_a_hospital_may_train(hospital, vendor, tmp_path):
    found = run(hospital, vendor, a_product(tmp_path, design="internal"))

    assert found.code == "too_few_cases"  # a tenth of 60 patients
    (listed,) = (tmp_path / "data/desk/jobs").rglob("cohort.json")
    lists = json.loads(listed.read_text())
    assert lists["training"] == []
    assert 0 < len(lists["validation"]) < 20
    assert all("label" not in entry for entry in lists["validation"])


NAN = JOB_PY.replace(
    "return {case.name", "return {case.name: float('nan') if case.name[-2] == '5' else"
).replace("else: float", "else float")
SILENT = JOB_PY.replace("for case in cohort}\n\ndef", "for case in list(cohort)[3:]}\n\ndef")
MAD = JOB_PY.replace("    return {case.name", "    return {'9.9': 0.5} | {case.name")


def test_what_a_product_cannot_score_is_in_the_statistics(hospital, vendor, tmp_path):
    bad = said_by(run(hospital, vendor, a_product(tmp_path, NAN), "job1")).unscored
    silent = said_by(run(hospital, vendor, a_product(tmp_path, SILENT), "job2")).unscored

    assert bad.unusable_positives + bad.unusable_negatives == 6
    assert silent.missing_positives + silent.missing_negatives == 3


def test_a_case_nobody_asked_about_spoils_the_look(hospital, vendor, tmp_path):
    found = run(hospital, vendor, a_product(tmp_path, MAD))

    assert (found.state, found.code) == (job_pb2.TASK_STATE_WITHHELD, "unknown_case")
    assert len(hospital.sets.looks()) == 1  # it was a look all the same


def test_nobody_left_is_a_word_too(hospital, vendor, tmp_path):
    with hospital.index.transaction() as connection:
        connection.execute("DELETE FROM label")

    assert run(hospital, vendor, a_product(tmp_path)).code in {"cohort_too_small", "too_few_cases"}


def test_one_class_alone_is_not_shown(hospital, vendor, tmp_path):
    with hospital.index.transaction() as connection:
        connection.execute("UPDATE label SET value = 'NEGATIVE'")

    assert run(hospital, vendor, a_product(tmp_path)).code == "too_few_cases"


def test_a_product_is_compared_with_one_tested_before(hospital, vendor, tmp_path):
    first = a_product(tmp_path)
    run(hospital, vendor, first)
    worse = (
        JOB_PY.replace("sigma", "sig").replace("sigmoid(a", "sigmoid(-a").replace("sigmoid", "s")
    )
    second = a_product(tmp_path, worse, "worse", compare_with=bundle.digest(first).hex())

    said = said_by(run(hospital, vendor, second, "job2"))

    assert said.comparison.other_bundle == bundle.digest(first)
    assert sum(said.comparison.positive_counts) == 30
    assert (said.comparison.this_alone, said.comparison.other_alone) == (0, 60)


def test_readers_agreement_is_counted_without_their_names(hospital, vendor, tmp_path):
    with hospital.index.transaction() as connection:
        connection.execute("UPDATE label SET reader = 'anna'")
        connection.execute(
            "INSERT INTO label (study_uid, series_uid, name, value, reader) "
            "SELECT study_uid, series_uid, name, 'POSITIVE', 'bo' FROM label"
        )

    outcome = run(hospital, vendor, a_product(tmp_path))

    assert outcome.code == "too_few_cases"  # where readers differ, POSITIVE stands: one class
    with hospital.index.transaction() as connection:
        connection.execute(
            "UPDATE label SET value = 'NEGATIVE' WHERE reader = 'bo' AND substr(series_uid, 6) "
            "IN (SELECT substr(series_uid, 6) FROM label WHERE value = 'NEGATIVE')"
        )
    said = said_by(run(hospital, vendor, a_product(tmp_path), "job2"))
    assert said.readers.readers == 2
    assert list(said.readers.counts) == [30, 0, 0, 30]
    assert b"anna" not in outcome.SerializeToString() + said.SerializeToString()


def test_a_policy_bounds_what_a_look_may_carry(hospital, vendor, tmp_path):
    hospital.policy = hospital.policy.model_copy(
        update={
            "jobs": hospital.policy.jobs.model_copy(update={"leakage_bits_per_job_at_most": 100.0})
        }
    )

    assert run(hospital, vendor, a_product(tmp_path)).code == "leakage_budget"


def test_the_gate_itself_keeps_what_the_form_cannot_say(hospital, vendor, tmp_path):
    honest = run(hospital, vendor, a_product(tmp_path))

    def shut(change, *, sign=True):
        said = said_by(honest)
        change(said)
        outcome = job_pb2.TaskOutcome()
        outcome.CopyFrom(honest)
        outcome.statistics = said.SerializeToString(deterministic=True)
        if sign:
            key, signature = hospital.sets.sign(outcome.task_id, outcome.statistics)
            outcome.statistics_key, outcome.statistics_signature = key, signature
        with pytest.raises(GateShut):
            hospital.gate.outcome("r", outcome, "Dr. Steward")

    def small(said):
        said.cells[1].positives[:] = [5] + [0] * 199

    def remainder(said):
        said.cells[1].positives[:] = [25] + [0] * 199

    shut(lambda said: setattr(said.cells[1], "bin", "ZHANG WEI"))
    shut(lambda said: setattr(said.cells[1], "field", "PatientName"))
    shut(small)
    shut(remainder)
    shut(lambda said: setattr(said.cells[0], "true_positives", 31))
    shut(lambda said: said.cells.append(said.cells[1]))
    shut(lambda said: said.readers.counts.append(3))
    shut(lambda said: said.comparison.positive_cells.append(1))
    shut(lambda said: setattr(said, "look", 2), sign=False)
