"""Merged and withdrawn patients, in the index and in every count, now and for what comes later."""

import pytest

from gateway.store.index import Index
from gateway.store.patients import Register
from gateway.store.reindex import reindex
from gateway.store.standing import Decision, Kind
from gateway.store.tally import Tally
from tests.fakes.custody_house import House, corrected, shipped

pytestmark = pytest.mark.flow

CT = shipped("CT_small.dcm")


def of_patient(patient_id, number):
    return corrected(
        CT,
        PatientID=patient_id,
        StudyInstanceUID=f"1.2.840.60.{number}",
        SeriesInstanceUID=f"1.2.840.61.{number}",
        SOPInstanceUID=f"1.2.840.62.{number}",
    )


class Care:
    """A house with a register, and one line for all of the test."""

    def __init__(self, base):
        self.house = House(base)
        self.register = Register.open(base / "patients.db")
        self.index = self.house.index()
        self.line = self.house.line(self.index, register=self.register)

    def take(self, *instances):
        for instance in instances:
            self.house.take(instance)
        self.line.run_once()

    def decide(self, kind, patient_id, other=None):
        name = self.house.engine.pseudonym
        decision = Decision(kind, name(patient_id, ""), other and name(other, ""))
        self.register.decide(decision, lambda: None)
        self.index.restate(self.register.standings)

    def patients(self, index=None):
        return sum(Tally(index or self.index).count("patients", [], [], 1, 1).values())

    def studies(self, index=None):
        return sum(Tally(index or self.index).count("studies", [], [], 100, 1).values())


@pytest.fixture
def care(tmp_path):
    return Care(tmp_path)


def test_two_ids_of_one_person_count_once(care):
    care.take(of_patient("ID-100", 1), of_patient("ID-200", 2))
    assert (care.patients(), care.studies()) == (2, 2)

    care.decide(Kind.MERGED, "ID-100", "ID-200")

    assert (care.patients(), care.studies()) == (1, 2)
    assert len({row.patient for row in Tally(care.index).select([])}) == 1


@pytest.mark.parametrize("first", ["ID-100", "ID-200"])
def test_a_merge_is_honoured_for_images_to_come(care, first):
    other = {"ID-100": "ID-200", "ID-200": "ID-100"}[first]
    care.take(of_patient(first, 1))
    care.decide(Kind.MERGED, "ID-100", "ID-200")

    care.take(of_patient(other, 2), of_patient("ID-300", 3))

    assert (care.patients(), care.studies()) == (2, 3)


def test_an_undone_merge_counts_two_again(care):
    care.take(of_patient("ID-100", 1), of_patient("ID-200", 2))
    care.decide(Kind.MERGED, "ID-100", "ID-200")

    care.decide(Kind.SEPARATED, "ID-100", "ID-200")

    assert (care.patients(), care.studies()) == (2, 2)


def test_a_withdrawn_patient_is_in_no_count_and_no_cohort_at_once(care):
    care.take(of_patient("ID-100", 1), of_patient("ID-200", 2))

    care.decide(Kind.WITHDRAWN, "ID-100")

    assert (care.patients(), care.studies()) == (1, 1)
    assert [row.study_uid for row in Tally(care.index).select([])] == [
        care.house.engine.pseudo_uid("1.2.840.60.2")
    ]
    hidden = care.house.engine.pseudo_uid("1.2.840.61.1")
    assert Tally(care.index).files(hidden) == []
    assert care.index.counts()["withdrawn"] == 1


def test_a_withdrawal_waits_for_images_to_come(care):
    care.decide(Kind.WITHDRAWN, "ID-100")

    care.take(of_patient("ID-100", 1), of_patient("ID-200", 2))

    assert care.patients() == 1


def test_a_withdrawal_under_one_id_holds_for_the_person(care):
    care.take(of_patient("ID-100", 1), of_patient("ID-200", 2))
    care.decide(Kind.WITHDRAWN, "ID-100")

    care.decide(Kind.MERGED, "ID-100", "ID-200")

    assert care.patients() == 0


def test_a_readmitted_patient_counts_again(care):
    care.take(of_patient("ID-100", 1))
    care.decide(Kind.WITHDRAWN, "ID-100")

    care.decide(Kind.READMITTED, "ID-100")

    assert care.patients() == 1


def test_decisions_outlive_the_index(care, tmp_path):
    care.take(*(of_patient(f"ID-{n}00", n) for n in (1, 2, 3, 4)))
    care.decide(Kind.MERGED, "ID-100", "ID-200")
    care.decide(Kind.WITHDRAWN, "ID-300")
    before = care.patients(), care.studies()

    fresh = Index.open(tmp_path / "fresh.db")
    reindex(care.house.store, fresh, 0.0, Register.open(tmp_path / "patients.db").standings)

    assert (care.patients(fresh), care.studies(fresh)) == before == (2, 3)


def test_a_line_over_a_new_index_knows_the_decisions_before_it_takes_anything(care, tmp_path):
    care.decide(Kind.WITHDRAWN, "ID-100")
    care.line.close()
    fresh = Index.open(tmp_path / "fresh.db")
    line = care.house.line(fresh, register=care.register)

    care.house.take(of_patient("ID-100", 1))
    line.run_once()

    assert care.patients(fresh) == 0


def test_a_decision_lost_before_the_index_followed_is_found_at_the_next_start(care):
    care.take(of_patient("ID-100", 1))
    name = care.house.engine.pseudonym("ID-100", "")
    care.register.decide(Decision(Kind.WITHDRAWN, name), lambda: None)  # and then the power fails
    care.line.close()

    care.house.line(care.index, register=care.register).run_once()

    assert care.patients() == 0


def test_what_no_witness_saw_is_not_decided(care):
    def fails():
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - of the witness
        care.register.decide(Decision(Kind.WITHDRAWN, "P"), fails)

    assert care.register.standings() == {}


def test_no_patient_id_is_at_rest(care, tmp_path):
    care.take(of_patient("ZHANGSAN-77001", 1))
    care.decide(Kind.MERGED, "ZHANGSAN-77001", "LISI-88002")
    care.decide(Kind.WITHDRAWN, "ZHANGSAN-77001")
    care.register.close()

    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())

    assert b"77001" not in written
    assert b"88002" not in written
