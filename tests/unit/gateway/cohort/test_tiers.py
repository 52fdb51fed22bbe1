from datetime import UTC, date, datetime

import pytest

from gateway.cohort.rules import canonical
from gateway.policy import ExactProject, Policy, PublicTables, Questions, Trust
from gateway.release.rules import check_answer
from protos.cube import TABLES
from protos.v1.question_pb2 import (
    ANSWER_STATE_BELOW_THRESHOLD,
    ANSWER_STATE_NOT_SUPPORTED,
    ANSWER_STATE_REFUSED_BUDGET,
    ANSWER_STATE_REFUSED_POLICY,
    ANSWER_STATE_VALUE,
    COUNT_UNIT_PATIENTS,
    COUNT_UNIT_STUDIES,
    TIER_EXACT,
    TIER_NOISY,
    TIER_PUBLIC,
    Predicate,
    Question,
)
from protos.vocabulary import FIELDS
from tests.fakes.hospital import Hospital

LUNGS = ExactProject(project="lungs", approved_by="li", until=date(2026, 12, 31))
SIGNED = Policy(trust=Trust(), questions=Questions(exact=(LUNGS,)))


@pytest.fixture
def hospital(tmp_path):
    house = Hospital(tmp_path)
    yield house
    house.close()


def ask(hospital, tier, *where, by=(), unit=COUNT_UNIT_PATIENTS, project="lungs", asker="alice"):
    return hospital.answers.answer(
        Question(
            question_id="q",
            project=project,
            unit=unit,
            where=[Predicate(field=f, operator="OPERATOR_EQUAL", values=[v]) for f, v in where],
            group_by=by,
            requester=asker,
            tier=tier,
        )
    )


def counts(answer):
    return {tuple(c.values): c.count for c in answer.cells if c.HasField("count")}


# The public tables


def test_the_public_tables_are_charged_once_and_read_for_free(hospital):
    hospital.admit(200)

    answers = [
        ask(hospital, TIER_PUBLIC, by=by, asker=asker) for by in TABLES for asker in ("alice", "bo")
    ]

    assert {a.rule for a in answers} == {""}
    assert {a.sigma for a in answers} == {20}
    assert all(check_answer(a, 10) is None for a in answers)
    assert hospital.privacy.spenders(2026).keys() == {"(public tables)"}
    assert float(hospital.privacy.spent(2026)) == 0.0375
    assert sum({tuple(a.cells[0].values): a.rho for a in answers}.values()) <= 0.0375


def test_all_public_tables_are_of_one_moment(hospital):
    hospital.admit(200)
    ask(hospital, TIER_PUBLIC)
    hospital.admit(900, sex="M")

    by_sex = counts(ask(hospital, TIER_PUBLIC, by=("PatientSex",)))

    assert by_sex["F",] > 100
    assert by_sex.get(("M",), 0) < 100


def test_the_noise_of_a_public_table_is_its_own(hospital):
    hospital.admit(200)

    public = ask(hospital, TIER_PUBLIC, by=("PatientSex",))
    asked = ask(hospital, TIER_NOISY, by=("PatientSex",))

    assert public.cells != asked.cells
    assert float(hospital.privacy.spent(2026)) == pytest.approx(0.0425)


def test_what_is_no_public_table_is_named(hospital):
    for odd in (
        ask(hospital, TIER_PUBLIC, ("Modality", "CT")),
        ask(hospital, TIER_PUBLIC, by=("Manufacturer", "Modality")),
        ask(hospital, TIER_PUBLIC, unit=COUNT_UNIT_STUDIES),
    ):
        assert (odd.state, odd.rule) == (ANSWER_STATE_NOT_SUPPORTED, "no_public_table")

    hospital.policy = Policy(questions=Questions(public=PublicTables(enabled=False)))
    assert ask(hospital, TIER_PUBLIC).rule == "public_tables_disabled"
    hospital.policy = Policy(questions=Questions(rho_per_year=0.01))
    short = ask(hospital, TIER_PUBLIC)
    assert (short.state, short.rule) == (ANSWER_STATE_REFUSED_BUDGET, "site_budget")
    assert ask(hospital, 77).rule == "unknown_tier"


# Exact tables


def test_an_exact_table_is_for_a_project_the_hospital_signed(hospital):
    hospital.admit(137)
    assert ask(hospital, TIER_EXACT).rule == "exact_needs_signatures"

    hospital.policy = SIGNED
    assert ask(hospital, TIER_EXACT, project="hearts").rule == "project_not_signed_off"
    assert ask(hospital, TIER_EXACT, unit=COUNT_UNIT_STUDIES).rule == "exact_patients_only"
    answer = ask(hospital, TIER_EXACT, ("Modality", "CT"))

    assert answer.state == ANSWER_STATE_VALUE
    assert counts(answer) == {(): 137}
    assert (answer.tier, answer.sigma, answer.rho) == (TIER_EXACT, 0, 0)
    assert check_answer(answer, 10) is None
    assert hospital.privacy.spent(2026) == 0
    hospital.now = datetime(2027, 1, 1, tzinfo=UTC)
    late = ask(hospital, TIER_EXACT)
    assert (late.state, late.rule) == (ANSWER_STATE_REFUSED_POLICY, "project_not_signed_off")


def test_a_small_cell_and_what_would_betray_it_are_hidden(hospital):
    hospital.policy = SIGNED
    hospital.admit(100)
    hospital.index.add(others(100, 160, sex="M"))
    hospital.index.add(others(160, 163, sex="O"))

    total = ask(hospital, TIER_EXACT)
    by_sex = ask(hospital, TIER_EXACT, by=("PatientSex",))
    few = ask(hospital, TIER_EXACT, ("PatientSex", "O"))

    assert counts(total) == {(): 163}
    assert counts(by_sex) == {("F",): 100}
    assert few.state == ANSWER_STATE_BELOW_THRESHOLD


def test_exact_tables_are_of_one_snapshot_across_a_restart(hospital):
    hospital.policy = SIGNED
    hospital.admit(50)
    first = ask(hospital, TIER_EXACT)
    hospital.admit(51)
    hospital.close()
    hospital.open()

    assert counts(ask(hospital, TIER_EXACT, ("Modality", "CT"))) == counts(first) == {(): 50}
    hospital.now = datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert counts(ask(hospital, TIER_EXACT)) == {(): 50}


def test_nobody_who_withdrew_is_in_a_new_table(hospital):
    hospital.policy = SIGNED
    hospital.admit(50)
    given = ask(hospital, TIER_EXACT)
    with hospital.index.transaction() as connection:
        connection.execute("UPDATE patient SET withdrawn = 1 WHERE pseudonym = 'p0001'")

    assert ask(hospital, TIER_EXACT, by=("PatientSex",)).rule == "snapshot_outdated"
    assert ask(hospital, TIER_EXACT).cells == given.cells
    file = (hospital.directory / "exact.db").read_bytes()
    assert b"CHEST" not in file


def test_a_patient_is_in_one_cell_where_most_of_their_images_are(hospital):
    hospital.policy = SIGNED
    hospital.admit(20)
    hospital.index.add([f for n in range(1, 20, 2) for f in series_of(n, "MR", 3)])

    by_modality = canonical(Question(unit=COUNT_UNIT_PATIENTS, group_by=["Modality"]))
    found = hospital.exact.answer(by_modality, "2026Q4").cells

    assert found["CT",] == found["MR",] == 10
    assert sum(n or 0 for n in found.values()) == 20


def test_principal_words_are_those_of_every_field(hospital):
    hospital.admit(1)

    (words,) = hospital.tally.principals(tuple(FIELDS))

    assert dict(zip(FIELDS, words, strict=True)) == {
        "Modality": "CT",
        "BodyPartExamined": "CHEST",
        "PatientSex": "F",
        "PatientAge": "60",
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "SliceThickness": "1.0",
        "StudyYear": "2024",
        "QualityGrade": "",
        "Label": "",
    }


def others(first, last, **changes):
    from tests.fakes.hospital import facts

    return [facts(number, **changes) for number in range(first, last)]


def series_of(patient, modality, instances):
    from tests.fakes.hospital import facts

    return [
        facts(
            patient,
            modality=modality,
            series_uid=f"2.25.77{patient}2",
            sop_uid=f"2.25.77{patient}3{instance}",
        )
        for instance in range(instances)
    ]
