from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.policy import Policy, Questions
from gateway.store.labels import Label, add_labels
from protos.v1.question_pb2 import (
    ANSWER_STATE_BELOW_THRESHOLD,
    ANSWER_STATE_NOT_SUPPORTED,
    ANSWER_STATE_REFUSED_BUDGET,
    ANSWER_STATE_REFUSED_POLICY,
    ANSWER_STATE_VALUE,
    COUNT_UNIT_BYTES,
    COUNT_UNIT_INSTANCES,
    COUNT_UNIT_PATIENTS,
    COUNT_UNIT_SERIES,
    COUNT_UNIT_STUDIES,
    Predicate,
    Question,
)
from tests.fakes.hospital import Hospital, facts

YEARS = [("StudyYear", str(year)) for year in range(2000, 2040)]


@pytest.fixture
def hospital(tmp_path):
    return Hospital(tmp_path)


def ask(hospital, *where, by=(), unit=COUNT_UNIT_PATIENTS, requester="alice", name="q"):
    predicates = [
        Predicate(field=field, operator="OPERATOR_EQUAL", values=[value]) for field, value in where
    ]
    return hospital.answers.answer(
        Question(question_id=name, unit=unit, where=predicates, group_by=by, requester=requester)
    )


def test_a_count_is_near_the_truth_and_says_its_noise_and_price(hospital):
    hospital.admit(200)

    answer = ask(hospital, ("Modality", "CT"))

    assert answer.state == ANSWER_STATE_VALUE
    assert abs(answer.cells[0].count - 200) < 60
    assert (answer.sigma, answer.rho, answer.epoch) == (10, 0.005, "2026Q4")


def test_a_repeat_costs_nothing_and_tells_nothing_even_when_the_data_moved(hospital):
    hospital.admit(200)
    first = ask(hospital, ("Modality", "CT"))
    hospital.admit(300)

    again = ask(hospital, ("Modality", "CT"), requester="bob")

    assert again.cells == first.cells
    assert hospital.privacy.spent(2026) * 200 == 1


def test_the_next_epoch_has_other_noise_and_its_own_price(hospital):
    hospital.admit(200)
    first = ask(hospital, by=("QualityGrade",))
    hospital.now = datetime(2027, 1, 2, tzinfo=UTC)

    later = ask(hospital, by=("QualityGrade",))

    assert later.epoch == "2027Q1"
    assert later.cells != first.cells
    assert hospital.privacy.spent(2027) == hospital.privacy.spent(2026) > 0


def test_an_answer_survives_a_restart_unchanged(hospital):
    hospital.admit(200)
    first = ask(hospital)
    hospital.close()
    hospital.open()

    assert ask(hospital).cells == first.cells


def test_nobody_is_never_a_bare_zero(hospital):
    answer = ask(hospital, ("Modality", "MG"))

    assert answer.state in (ANSWER_STATE_BELOW_THRESHOLD, ANSWER_STATE_VALUE)
    for cell in answer.cells:
        assert not cell.HasField("count") or cell.count >= 10


def test_every_bin_is_answered_empty_ones_too(hospital):
    hospital.admit(50)

    answer = ask(hospital, by=("PatientSex", "Manufacturer"))

    assert len(answer.cells) == 5 * 17
    assert {cell.values[0] for cell in answer.cells} == {"F", "M", "O", "OTHER", "UNKNOWN"}
    biggest = max(answer.cells, key=lambda cell: cell.count)
    assert list(biggest.values) == ["F", "GE"]


def test_one_requester_cannot_spend_the_hospitals_year(hospital):
    answers = [ask(hospital, question, requester="alice") for question in YEARS]
    answers.append(ask(hospital, ("Modality", "MR"), requester="alice"))

    assert [a.rule for a in answers].count("") == 40  # 20 % of 200
    assert answers[-1].state == ANSWER_STATE_REFUSED_BUDGET
    assert answers[-1].rule == "requester_budget"
    assert ask(hospital, ("Modality", "MR"), requester="bob").rule == ""


def test_an_empty_budget_refuses_before_anything_is_counted(hospital, monkeypatch):
    hospital.policy = Policy(questions=Questions(rho_per_year=0.004))
    monkeypatch.setattr(hospital.tally, "count", lambda *_: pytest.fail("it was counted"))

    answer = ask(hospital)

    assert (answer.state, answer.rule) == (ANSWER_STATE_REFUSED_BUDGET, "site_budget")
    assert not answer.cells


def test_policy_refuses_fields_and_all_questions(hospital):
    hospital.policy = Policy(questions=Questions(refused_fields={"Manufacturer"}))
    assert ask(hospital, by=("Manufacturer",)).state == ANSWER_STATE_REFUSED_POLICY
    assert ask(hospital, ("Manufacturer", "GE")).rule == "field_refused"

    hospital.policy = Policy(questions=Questions(enabled=False))
    assert ask(hospital).rule == "questions_disabled"


def test_what_is_not_understood_is_not_supported(hospital):
    answer = ask(hospital, ("PatientName", "x"))

    assert (answer.state, answer.rule) == (ANSWER_STATE_NOT_SUPPORTED, "unknown_field")


def test_a_patient_with_many_studies_counts_at_most_as_often_as_is_paid_for(hospital):
    one = [
        facts(1, study_uid=f"2.25.{n}1", series_uid=f"2.25.{n}2", sop_uid=f"2.25.{n}3")
        for n in range(1, 50)
    ]
    hospital.index.add([replace(f, patient="p0001") for f in one])

    counted = {
        unit: hospital.tally.count(unit, [], [], clip, 1)[()]
        for unit, clip in (("patients", 1), ("studies", 3), ("series", 10), ("instances", 500))
    }

    assert counted == {"patients": 1, "studies": 3, "series": 10, "instances": 49}


def test_a_patient_is_in_at_most_as_many_bins_as_are_paid_for(hospital):
    modalities = ["CT", "MR", "CR", "DX", "MG", "US"]
    hospital.index.add(
        [
            facts(
                n,
                patient="p0001",
                modality=modality,
                study_uid=f"2.25.9{n}1",
                series_uid=f"2.25.9{n}2",
                sop_uid=f"2.25.9{n}3",
            )
            for n, modality in enumerate(modalities)
        ]
    )
    from gateway.cohort.count import count
    from gateway.cohort.rules import canonical

    asked = canonical(Question(unit=COUNT_UNIT_PATIENTS, group_by=["Modality"]))

    assert sum(count(asked, hospital.tally, 1).values()) == asked.bins_per_patient == 4


def test_placeholder_patients_are_in_no_count(hospital):
    hospital.admit(30, countable=False)

    for unit in ("patients", "studies", "series", "instances"):
        assert hospital.tally.count(unit, [], [], 100, 1) == {}


@pytest.mark.parametrize(
    ("unit", "rho"),
    [
        (COUNT_UNIT_STUDIES, 0.02),
        (COUNT_UNIT_SERIES, 0.02),
        (COUNT_UNIT_INSTANCES, 0.02),
        (COUNT_UNIT_BYTES, 0.02),
    ],
)
def test_other_units_cost_more(hospital, unit, rho):
    assert ask(hospital, unit=unit).rho == pytest.approx(rho)


def test_labels_and_thickness_and_age_are_counted_as_stored(hospital):
    hospital.admit(100, slice_thickness_mm=1.25, age_years=None)
    with hospital.index.transaction() as connection:
        connection.executemany(
            "INSERT INTO label (series_uid, name, value, reader) VALUES (?, 'nodule', ?, '')",
            [(f"2.25.{n}2", "positive" if n % 2 else "0") for n in range(60)],
        )

    def true(*by):
        from gateway.cohort.count import count
        from gateway.cohort.rules import canonical

        asked = canonical(Question(unit=COUNT_UNIT_PATIENTS, group_by=by))
        return {c: n for c, n in count(asked, hospital.tally, 1).items() if n}

    assert true("Label") == {("POSITIVE",): 30, ("NEGATIVE",): 30, ("UNKNOWN",): 40}
    assert true("SliceThickness") == {("1-1.5mm",): 100}
    assert true("PatientAge") == {("UNKNOWN",): 100}
    assert true("Manufacturer", "StudyYear") == {("GE", "2024"): 100}


def test_labels_are_told_with_noise_and_not_at_all_where_they_are_few(hospital):
    hospital.admit(300)
    labels = [Label(None, f"2.25.{n}2", "nodule", "POSITIVE", "r1") for n in range(100)]
    labels += [Label(None, f"2.25.{n}2", "nodule", "NEGATIVE", "r1") for n in range(100, 102)]
    add_labels(hospital.index, labels)

    answer = ask(hospital, by=("Label",))
    again = ask(hospital, by=("Label",), requester="bob")

    cells = {cell.values[0]: cell for cell in answer.cells}
    assert abs(cells["POSITIVE"].count - 100) < 60
    assert answer.sigma == 10
    few = cells["NEGATIVE"]
    assert few.state == ANSWER_STATE_BELOW_THRESHOLD or few.count >= 10
    assert again.cells == answer.cells
