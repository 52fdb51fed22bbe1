"""A job's frozen cohort stays what it was, except for whoever may not be in it any more."""

import json

import pytest

from gateway.cohort.answers import Answers
from gateway.desk.cohorts import Cohorts
from gateway.desk.rules import Refusal
from gateway.policy import Policy
from gateway.release.rules import Rule
from gateway.sandbox.rules import Split
from gateway.sandbox.workspace import freeze
from gateway.store.labels import Label, add_labels
from gateway.store.rejection import KEY_OBJECTS, Rejection
from gateway.store.standing import Standing
from protos.job_manifest import parse_manifest
from protos.v1 import question_pb2
from tests.fakes.hospital import SPLIT_KEY, Hospital, facts, write_image

pytestmark = pytest.mark.flow

MANIFEST = parse_manifest("""
name = "test-job"
kind = "training"
purpose = "A test."
label = "nodule"
[[cohort]]
field = "Modality"
values = ["CT"]
[weights.w]
shape = [2]
""")


@pytest.fixture
def hospital(tmp_path):
    hospital = Hospital(tmp_path)
    hospital.admit_images(12)
    return hospital


@pytest.fixture
def cohorts(hospital, tmp_path):
    return Cohorts(hospital.tally, hospital.answers, tmp_path / "store", SPLIT_KEY)


def patients(workspace):
    lists = json.loads((workspace.inside / "cohort.json").read_text())
    return {entry["patient"] for side in lists.values() for entry in side}


def test_a_frozen_cohort_is_the_same_in_every_round(hospital, cohorts, tmp_path):
    first = cohorts.frozen(tmp_path / "w", MANIFEST)
    hospital.admit(3)  # images come, none of theirs is taken

    assert cohorts.frozen(tmp_path / "w", MANIFEST) == first


@pytest.mark.usefixtures("hospital")
def test_a_cohort_frozen_before_there_was_a_test_is_frozen_anew_without_it(cohorts, tmp_path):
    everybody = cohorts.selected(MANIFEST)
    tested = {series.patient for series in everybody if cohorts.split(series.patient) is Split.TEST}
    two_sided = {Split.TEST: Split.TRAINING}
    earlier = freeze(
        tmp_path / "w",
        everybody,
        cohorts.labels(MANIFEST),
        lambda patient: two_sided.get(cohorts.split(patient), cohorts.split(patient)),
    )
    assert tested & patients(earlier) == tested != set()

    after = cohorts.frozen(tmp_path / "w", MANIFEST)

    assert patients(after) == patients(earlier) - tested
    assert cohorts.frozen(tmp_path / "w", MANIFEST) == after


def test_while_a_key_rotates_nothing_is_frozen_weighed_or_answered(hospital, tmp_path):
    rotating = []
    answers = Answers(Policy, hospital.tally, hospital.privacy, lambda: bool(rotating))
    cohorts = Cohorts(
        hospital.tally, answers, tmp_path / "store", SPLIT_KEY, lambda: bool(rotating)
    )
    cohorts.frozen(tmp_path / "w", MANIFEST)
    question = question_pb2.Question(
        question_id="q", requester="r", unit=question_pb2.COUNT_UNIT_PATIENTS
    )
    assert answers.answer(question).rule != "rotation_under_way"

    rotating.append(True)

    assert cohorts.frozen(tmp_path / "w", MANIFEST) == Refusal("rotation_under_way")
    assert cohorts.weigh("job", "vendor", MANIFEST) == Refusal("rotation_under_way")
    answer = answers.answer(question)
    assert answer.state == question_pb2.ANSWER_STATE_REFUSED_POLICY
    assert answer.rule == Rule.ROTATION_UNDER_WAY


def seen(cohorts):
    """Return who of the twelve is in no locked test set."""
    everybody = {f"p{n:04d}" for n in range(12)}
    return {patient for patient in everybody if cohorts.split(patient) is not Split.TEST}


def test_a_withdrawn_patient_is_gone_before_the_next_round(hospital, cohorts, tmp_path):
    assert "p0004" in patients(cohorts.frozen(tmp_path / "w", MANIFEST))

    hospital.index.restate(lambda: {"p0004": Standing("p0004", withdrawn=True)})
    after = cohorts.frozen(tmp_path / "w", MANIFEST)

    assert patients(after) == seen(cohorts) - {"p0004"}
    assert "p0004" not in "".join(str(p) for p in after.root.rglob("*"))


def test_a_rejected_image_is_gone_before_the_next_round(hospital, cohorts, tmp_path):
    cohorts.frozen(tmp_path / "w", MANIFEST)

    note = facts(900, sop_class_uid=KEY_OBJECTS, patient="p0007", modality="KO")
    rejected = Rejection(note.sop_uid, "113037", frozenset({facts(7).sop_uid}))
    hospital.index.add([note], notes=[rejected])

    assert "p0007" not in patients(cohorts.frozen(tmp_path / "w", MANIFEST))


def test_a_cohort_frozen_anew_takes_nobody_new(hospital, cohorts, tmp_path):
    cohorts.frozen(tmp_path / "w", MANIFEST)
    write_image(tmp_path / "store" / "12.dcm", bright=True, seed=12)
    hospital.index.add([facts(12)])
    add_labels(hospital.index, [Label(None, facts(12).series_uid, "nodule", "POSITIVE", "")])
    assert "p0012" in patients(cohorts.frozen(tmp_path / "another job", MANIFEST))
    hospital.index.restate(lambda: {"p0004": Standing("p0004", withdrawn=True)})

    after = cohorts.frozen(tmp_path / "w", MANIFEST)

    assert patients(after) == seen(cohorts) - {"p0004"}


def test_a_job_never_runs_on_nobody(hospital, cohorts, tmp_path):
    everybody = {f"p{n:04d}": Standing(f"p{n:04d}", withdrawn=True) for n in range(12)}
    hospital.index.restate(lambda: everybody)

    assert cohorts.frozen(tmp_path / "w", MANIFEST) == Refusal("cohort_too_small")


@pytest.mark.parametrize(("broken", "runs"), [(2, True), (3, False)])
def test_bad_studies_are_left_out_up_to_the_declared_share(
    hospital, cohorts, tmp_path, broken, runs
):
    files = sorted((tmp_path / "store").rglob("*.dcm"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].unlink()
    if broken > 2:
        hospital.index.grade(facts(9).series_uid, "D", ["no matrix size"], before=1e12)

    found = cohorts.frozen(tmp_path / "w", MANIFEST)

    if runs:
        assert found.skipped == {"file_damaged": 1, "file_missing": 1}
        assert len(patients(found)) == len(seen(cohorts)) - 2
    else:
        assert found == Refusal("too_many_bad_cases")
