"""A cohort is frozen once: what goes in, what is left out, what a job sees of it."""

import json
import stat
from hashlib import sha256

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.errors import IntegrityFault
from gateway.model import Pseudonym, PseudoUID
from gateway.sandbox import merkle
from gateway.sandbox.rules import Split
from gateway.sandbox.workspace import CohortSeries, Workspace, copy_without_seal, discard, freeze

pytestmark = pytest.mark.flow
SEAL = b"radfed sealed record, ciphertext"


@pytest.fixture
def stored(tmp_path):
    """A stored instance with a sealed record in its file meta."""
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.file_meta.PrivateInformationCreatorUID = "2.25.1"
    dataset.file_meta.PrivateInformation = SEAL
    dataset.save_as(tmp_path / "stored.dcm", enforce_file_format=True)
    return tmp_path / "stored.dcm"


def series(number, patient, *files):
    return CohortSeries(
        PseudoUID(f"2.25.{number}"), PseudoUID(f"2.25.9{number}"), Pseudonym(patient), tuple(files)
    )


def by_name(patient):
    return Split.VALIDATION if patient.startswith("held") else Split.TRAINING


def test_a_copy_is_the_instance_without_its_sealed_record(stored, tmp_path):
    copy_without_seal(stored, tmp_path / "copy.dcm")

    raw = (tmp_path / "copy.dcm").read_bytes()
    copy, original = dcmread(tmp_path / "copy.dcm"), dcmread(stored)
    assert SEAL not in raw
    assert "PrivateInformation" not in copy.file_meta
    assert copy == original
    assert copy.PixelData == original.PixelData
    assert stat.S_IMODE((tmp_path / "copy.dcm").stat().st_mode) == 0o444


def test_the_labels_of_held_out_patients_stay_outside(stored, tmp_path):
    cohort = [series(1, "train-a", stored, stored), series(2, "held-b", stored)]

    frozen = freeze(tmp_path / "w", cohort, {"2.25.1": 1, "2.25.92": 0}, by_name)

    inside = json.loads((frozen.inside / "cohort.json").read_text())
    assert [case["label"] for case in inside["training"]] == [1]
    assert "label" not in inside["validation"][0]
    assert frozen.truth == {"2.25.2": 0}
    assert (frozen.training_cases, frozen.training_patients) == (1, 1)
    assert len(list(frozen.inside.rglob("*.dcm"))) == 3


def test_labels_that_may_be_known_inside_are_a_table_too(stored, tmp_path):
    cohort = [series(1, "train-a", stored), series(2, "held-b", stored)]

    frozen = freeze(tmp_path / "w", cohort, {"2.25.1": 1, "2.25.2": 0}, by_name)

    assert (frozen.inside / "labels.csv").read_text() == "case,label\n2.25.1,1\n"


def test_a_cohort_is_named_by_a_tree_over_its_cases(stored, tmp_path):
    cohort = [series(1, "train-a", stored), series(2, "held-b", stored)]

    frozen = freeze(tmp_path / "w", cohort, {"2.25.1": 1, "2.25.2": 0}, by_name)

    inside = json.loads((frozen.inside / "cohort.json").read_text())
    (one,), (two,) = inside["training"], inside["validation"]
    (copy,) = (frozen.inside / name for name in one["files"])
    assert one["sha256"] == [sha256(copy.read_bytes()).hexdigest()]
    pair = [merkle.leaf("2.25.1", 1, one["sha256"]), merkle.leaf("2.25.2", 0, two["sha256"])]
    assert frozen.digest == sha256(b"\1" + pair[0] + pair[1]).hexdigest()


def test_series_without_a_label_stay_out(stored, tmp_path):
    frozen = freeze(tmp_path / "w", [series(1, "train-a", stored)], {}, by_name)

    assert frozen.training_cases == 0
    assert not list(frozen.inside.rglob("*.dcm"))


def test_the_same_cohort_has_the_same_digest_and_another_has_not(stored, tmp_path):
    one = [series(1, "train-a", stored), series(2, "held-b", stored)]
    labels = {"2.25.1": 1, "2.25.2": 0}

    first = freeze(tmp_path / "a", one, labels, by_name)
    again = freeze(tmp_path / "b", one[::-1], labels, by_name)
    other = freeze(tmp_path / "c", one, labels | {"2.25.1": 0}, by_name)

    assert first.digest == again.digest != other.digest


def test_a_frozen_cohort_survives_a_restart(stored, tmp_path):
    frozen = freeze(tmp_path / "w", [series(1, "held-b", stored)], {"2.25.1": 1}, by_name)

    assert Workspace.load(tmp_path / "w") == frozen
    discard(frozen)
    with pytest.raises(IntegrityFault):
        Workspace.load(tmp_path / "w")


def test_a_freeze_cut_short_is_not_mistaken_for_a_cohort(stored, tmp_path):
    (tmp_path / "w.draft" / "inside").mkdir(parents=True)

    with pytest.raises(IntegrityFault):
        Workspace.load(tmp_path / "w")
    frozen = freeze(tmp_path / "w", [series(1, "train-a", stored)], {"2.25.1": 1}, by_name)

    assert frozen.training_cases == 1
