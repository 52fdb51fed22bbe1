"""Phantoms are labelled synthetic; planted files hold their patient in every place."""

import random
import warnings
from io import BytesIO

import numpy as np
import pydicom
import pytest

from deploy.demo import identities, phantoms
from deploy.demo.people import make_person

warnings.simplefilter("ignore")


def a_study():
    return phantoms.make_study(np.random.default_rng(1), phantoms.SITES[0], lesion=True)


def test_a_phantom_says_everywhere_that_it_is_synthetic():
    for image in a_study():
        assert image.Manufacturer == "SYNTHETIC"
        assert "SYNTHETIC" in image.ImageType
        assert "SYNTHETIC" in image.SeriesDescription
        assert "SYNTHETIC" in str(image.PatientName)


def test_a_study_is_one_series_of_ordered_slices():
    study = a_study()

    assert len(study) == phantoms.SITES[0].slices
    assert len({image.SeriesInstanceUID for image in study}) == 1
    assert [image.InstanceNumber for image in study] == list(range(1, len(study) + 1))
    assert len({float(image.ImagePositionPatient[2]) for image in study}) == len(study)


def test_the_same_seed_draws_the_same_patients():
    first, again = (list(phantoms.make_cohort(5, phantoms.SITES[1], 3)) for _ in range(2))

    assert [[i.PixelData for i in s] for s, _ in first] == [
        [i.PixelData for i in s] for s, _ in again
    ]
    assert first[0][0][0].PatientID == again[0][0][0].PatientID


def test_hospitals_differ_in_prevalence_and_scanner():
    truths = [
        np.mean([lesion for _, lesion in phantoms.make_cohort(1, s, 40)]) for s in phantoms.SITES
    ]

    assert len(set(truths)) == 3
    assert len({site.model for site in phantoms.SITES}) == 3


@pytest.mark.parametrize("charset", identities.CHARSETS)
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "test-SR.dcm"]
)
def test_a_planted_file_can_be_read_back_with_its_patient(name, charset):
    rng = random.Random(4)
    person = make_person(rng)

    raw = identities.encoded(identities.plant(name, person, charset, rng).dataset)

    dataset = pydicom.dcmread(BytesIO(raw))
    assert dataset.PatientID == person.patient_id
    assert (
        dataset.RequestAttributesSequence[0].OtherPatientIDsSequence[0].PatientID
        == person.national_id
    )
    assert person.email.encode() in raw
    if charset != ["ISO_IR 100"]:
        codec = identities.PYTHON_CODECS.get(charset[-1], "gb2312")
        assert person.name_han.encode(codec) in raw


def test_ideographs_of_iso_2022_come_after_their_escape():
    rng = random.Random(4)
    person = make_person(rng)

    raw = identities.encoded(
        identities.plant("MR_small.dcm", person, ["", "ISO 2022 IR 58"], rng).dataset
    )

    assert b"\x1b$)A" + person.name_han[:2].encode("gb2312") in raw


def test_every_file_brings_a_patient_of_its_own():
    planted = list(identities.plant_all("test"))

    people = [file.dataset.PatientID for file in planted]
    assert len(set(people)) == len(identities.FILES)
    modalities = {file.dataset.get("Modality") for file in planted}
    assert {"CT", "MR", "US", "CR", "SR", "RTPLAN", "RTDOSE", "RTSTRUCT"} <= modalities
