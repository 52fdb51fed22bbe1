"""Labels while a key is rotated: under both names, and in the end under the new one alone."""

from dataclasses import replace

import pytest

from gateway.store.index import Index
from gateway.store.labels import Label, add_labels, copy_labels, drop_older_labels
from tests.fakes.hospital import facts

GIVEN = Label("2.25.11", None, "lesion", "0", "board", adjudicated=True)
OF_PATIENT = Label(None, None, "lesion", "1", "r1", patient="p0001")
READ = Label(None, "2.25.12", "nodule", "POSITIVE", "SEG 1", source="2.25.99")


@pytest.fixture
def index(tmp_path):
    index = Index.open(tmp_path / "index.db")
    index.add([facts(1)])
    return index


def copy(index, version=2):
    copy_labels(
        index,
        version,
        lambda uid, written: f"{uid}.{written}{version}",
        lambda patient, written: f"{patient}-{written}{version}",
    )


def labels(index):
    columns = "study_uid, series_uid, name, value, reader, patient, adjudicated, source, version"
    return {Label(*row) for row in index.read(f"SELECT {columns} FROM label")}


def renamed(label):
    return replace(
        label,
        study_uid=label.study_uid and f"{label.study_uid}.12",
        series_uid=label.series_uid and f"{label.series_uid}.12",
        patient=label.patient and f"{label.patient}-12",
        source=label.source and f"{label.source}.12",
        version=2,
    )


def test_labels_stand_under_both_names_and_then_under_the_new_one(index):
    older = {GIVEN, OF_PATIENT, READ}
    add_labels(index, older)

    copy(index)
    copy(index)  # a run that was cut short
    between = labels(index)
    drop_older_labels(index, 2)

    assert between == older | {renamed(label) for label in older}
    assert labels(index) == {renamed(label) for label in older}


def test_what_was_said_under_the_new_name_stands(index):
    add_labels(index, [GIVEN, OF_PATIENT, READ])
    corrected = replace(renamed(GIVEN), value="1")
    add_labels(index, [corrected])
    read_anew = replace(renamed(READ), name="cyst")
    add_labels(index, [read_anew], [read_anew.source])

    copy(index)
    drop_older_labels(index, 2)

    assert labels(index) == {corrected, renamed(OF_PATIENT), read_anew}


def test_labels_of_an_object_that_keeps_its_uids_stay(index):
    kept = replace(READ, source=facts(1).sop_uid)
    add_labels(index, [kept])

    copy(index)
    drop_older_labels(index, 2)

    assert kept in labels(index)
