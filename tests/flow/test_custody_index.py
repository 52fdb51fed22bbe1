"""The index as a file: migrations, one batch twice, damage, many openers."""

import sqlite3
import subprocess
import sys

import pytest

from gateway.errors import EnvironmentFault, IntegrityFault
from gateway.model import InstanceFacts, Pseudonym, PseudoUID
from gateway.store.index import Index

pytestmark = pytest.mark.flow
OPEN = "import sys; from pathlib import Path; from gateway.store.index import Index; "
OPEN += "print(Index.open(Path(sys.argv[1])).counts()['instances'])"


def facts(number=1, **changes):
    known = {
        "sop_uid": PseudoUID(f"2.25.{number}"),
        "series_uid": PseudoUID("2.25.900"),
        "study_uid": PseudoUID("2.25.901"),
        "patient": Pseudonym("P1"),
        "countable": True,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "CT",
        "body_part": "CHEST",
        "sex": "F",
        "age_years": 61,
        "study_year": 2019,
        "manufacturer": "GE",
        "model": "LightSpeed",
        "slice_thickness_mm": 1.25,
        "rows": 512,
        "columns": 512,
        "frames": 1,
        "instance_number": number,
        "size_bytes": 1000,
        "profile_digest": "d" * 64,
        "received_digest": "a" * 64,
        "path": f"00/2.25.901/2.25.900/2.25.{number}.dcm",
    }
    return InstanceFacts(**(known | changes))


def content(index):
    tables = ("patient", "study", "series", "instance")
    return [[tuple(r) for r in index.read(f"SELECT * FROM {t} ORDER BY 1")] for t in tables]


def test_a_batch_taken_twice_changes_nothing(tmp_path):
    index = Index.open(tmp_path / "index.db")
    batch = [facts(n) for n in range(50)]

    index.add(batch, at=5.0)
    once = content(index)
    index.add(batch, at=5.0)

    assert content(index) == once
    assert index.counts()["bytes"] == 50_000


def test_a_batch_is_all_or_nothing(tmp_path):
    index = Index.open(tmp_path / "index.db")

    with pytest.raises(sqlite3.Error):
        index.add([facts(1), facts(2, path=None)])

    assert index.counts()["instances"] == 0
    assert index.counts()["patients"] == 0


def test_it_is_as_durable_as_sqlite_can_be(tmp_path):
    index = Index.open(tmp_path / "index.db")

    assert index.read("PRAGMA journal_mode")[0][0] == "wal"
    assert index.read("PRAGMA synchronous")[0][0] == 2  # FULL


def test_many_may_open_a_new_index_at_once(tmp_path):
    command = [sys.executable, "-c", OPEN, str(tmp_path / "index.db")]
    opening = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]

    assert [(p.communicate()[0].strip(), p.returncode) for p in opening] == [("0", 0)] * 4


def test_migrations_are_applied_once_and_kept(tmp_path):
    path = tmp_path / "index.db"
    Index.open(path).add([facts()])

    again = Index.open(path)

    applied = [row[0] for row in again.read("SELECT name FROM _sqlite_migrations ORDER BY name")]
    assert applied == [
        "0001_patient_study_series_instance",
        "0002_label",
        "0003_hidden_withdrawn_merged",
        "0004_size_of_series",
        "0005_label_versions",
        "0006_label_sources",
    ]
    assert again.counts()["instances"] == 1


def test_a_damaged_index_says_how_to_rebuild_it(tmp_path):
    path = tmp_path / "index.db"
    path.write_bytes(b"not a database at all" * 1000)

    with pytest.raises(IntegrityFault, match="reindex"):
        Index.open(path)


def test_a_place_that_cannot_hold_it_is_the_environments_fault(tmp_path):
    (tmp_path / "index.db").mkdir()

    with pytest.raises(EnvironmentFault):
        Index.open(tmp_path / "index.db")


def test_a_grade_is_not_given_to_a_series_that_changed_meanwhile(tmp_path):
    index = Index.open(tmp_path / "index.db")
    index.add([facts(1)], at=10.0)
    assert index.quiet(before=11.0) == ["2.25.900"]
    index.add([facts(2)], at=12.0)

    index.grade("2.25.900", "A", [], before=11.0)

    assert index.counts()["grades"] == {"-": 1}


def test_placeholder_patients_are_in_no_cohort(tmp_path):
    index = Index.open(tmp_path / "index.db")
    index.add([facts(1, countable=False)])

    assert index.files_of_series("2.25.900") == []
    assert index.paths_of_series("2.25.900") != []
