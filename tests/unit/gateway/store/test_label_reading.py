from dataclasses import replace

import pytest

from gateway.store.labels import Label, NotLabels, read_labels

STUDY_TABLE = "StudyInstanceUID,label,value\n"


class Keys:
    """Pseudonyms that can be read: what was asked, and by which verb."""

    def pseudo_uid(self, real):
        return f"pseudo-{real}"

    def pseudonym(self, patient_id, issuer):
        return f"patient-{issuer}-{patient_id}"

    def pseudo_accession(self, number):
        return f"accession-{number}"

    def names_nobody(self, patient_id):
        return patient_id == "UNKNOWN"


def read(text):
    return read_labels(text.splitlines(keepends=True), Keys())


def labels(text):
    found = read(text)
    assert found.bad == ()
    return [row.label for row in found.rows]


def test_rows_are_translated_and_the_originals_forgotten():
    found = labels(
        "StudyInstanceUID,SeriesInstanceUID,label,value,reader\n"
        "1.2,,lesion,POSITIVE,r1\n"
        "1.2,1.3,lesion,NEGATIVE,\n"
    )

    assert found == [
        Label("pseudo-1.2", None, "lesion", "POSITIVE", "r1"),
        Label(None, "pseudo-1.3", "lesion", "NEGATIVE", ""),
    ]


def test_a_study_alone_is_enough():
    (label,) = labels("label,value,StudyInstanceUID\nnodule, NEGATIVE ,1.2\n")

    assert (label.study_uid, label.name, label.value) == ("pseudo-1.2", "nodule", "NEGATIVE")


def test_a_patient_is_an_issuer_and_an_id():
    (label,) = labels("IssuerOfPatientID,PatientID,label,value\nH1,77,lesion,POSITIVE\n")

    assert label == Label(None, None, "lesion", "POSITIVE", "", patient="patient-H1-77")


def test_an_accession_number_waits_for_its_study():
    (row,) = read("AccessionNumber,PatientID,label,value\nA7,77,lesion,POSITIVE\n").rows

    assert row.accession == "accession-A7"
    assert replace(row.label, name="lesion") == Label(None, None, "lesion", "POSITIVE", "")


@pytest.mark.parametrize(
    ("word", "is_so"), [("yes", True), ("1", True), ("no", False), ("", False)]
)
def test_readers_may_have_settled(word, is_so):
    (label,) = labels(f"StudyInstanceUID,label,value,adjudicated\n1.2,lesion,POSITIVE,{word}\n")

    assert label.adjudicated is is_so


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("StudyInstanceUID,label\n1.2,x\n", "columns needed"),
        ("label,value\nx,y\n", "columns needed"),
        ("StudyInstanceUID,label,value,PatientName\n1.2,x,y,Doe\n", "unknown columns"),
        ("", "columns needed"),
    ],
)
def test_a_file_that_is_not_labels_is_refused_without_quoting_it(text, message):
    with pytest.raises(NotLabels, match=message) as refused:
        read(text)

    assert "Doe" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (STUDY_TABLE + "1.2,x\n", 2, "columns"),
        (STUDY_TABLE + "1.2,x,y,z\n", 2, "columns"),
        (STUDY_TABLE + "Doe^Jane,x,y\n", 2, "no UID"),
        (STUDY_TABLE + "1." + "2" * 64 + ",x,y\n", 2, "64"),
        (STUDY_TABLE + "1.2,x,y\n1.2,,y\n", 3, "no label"),
        (STUDY_TABLE + "1.2,x," + "y" * 65 + "\n", 2, "64"),
        (STUDY_TABLE + ",x,y\n", 2, "names none"),
        ("PatientID,label,value\nUNKNOWN,x,y\n", 2, "nobody"),
        ("StudyInstanceUID,label,value,adjudicated\n1.2,x,y,perhaps\n", 2, "neither"),
        (STUDY_TABLE + '1.2,x,"y\ny"\nDoe,x,y\n', 4, "no UID"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_never_quoted(text, line, why):
    ((found, what),) = read(text).bad

    assert found == line
    assert why in what
    assert "Doe" not in what
