from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from gateway.quality.grade import Grade, grade
from gateway.quality.slices import Slice, slice_of

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SLICE = Slice(
    modality="CT",
    rows=512,
    columns=512,
    frames=1,
    pixel_spacing=(0.7, 0.7),
    thickness=1.0,
    position=(0.0, 0.0, 0.0),
    orientation=AXIAL,
    rescaled=True,
    localizer=False,
    frame_of_reference="2.25.9",
    has_body_part=True,
    has_kernel=True,
)


def volume(*places, **changes):
    return [replace(SLICE, position=(0.0, 0.0, float(z)), **changes) for z in places]


def with_one(series, **changes):
    return [replace(series[0], **changes), *series[1:]]


@pytest.mark.parametrize(
    ("series", "expected", "word"),
    [
        (volume(*range(20)), Grade.A, None),
        (volume(*(z * 1.01 for z in range(20)), 20.21), Grade.A, None),
        (volume(*reversed(range(20))), Grade.A, None),
        (volume(5), Grade.A, None),
        (volume(0, 1, 2, 3, 5, 6, 7), Grade.C, "1 gaps"),
        (volume(0, 1, 2.2, 3.2, 4.2, 5.2), Grade.C, "uneven"),
        (volume(0, 1, 1, 2, 3), Grade.D, "share a position"),
        (with_one(volume(0, 1, 2), position=None), Grade.D, "no position"),
        (with_one(volume(0, 1, 2), orientation=(0, 1, 0, 0, 0, 1)), Grade.D, "orientations"),
        (volume(0, 1, 2, orientation=(1, 0, 0, 1, 0, 0)), Grade.D, "right angles"),
        (with_one(volume(0, 1, 2), rows=256), Grade.D, "matrix sizes"),
        (with_one(volume(0, 1, 2), pixel_spacing=(1.0, 1.0)), Grade.C, "pixel spacings"),
        (with_one(volume(0, 1, 2), thickness=5.0), Grade.C, "thicknesses"),
        (with_one(volume(0, 1, 2), frame_of_reference="2.25.8"), Grade.D, "frames of reference"),
        (with_one(volume(0, 1, 2), rescaled=False), Grade.C, "Hounsfield"),
        (with_one(volume(0, 1, 2), thickness=None), Grade.C, "no slice thickness in 1 of 3"),
        (volume(0, 1, 2, has_body_part=False), Grade.B, "no body part in 3 of 3"),
        (with_one(volume(0, 1, 2), modality="MR"), Grade.D, "2 modalities"),
        (volume(0, 1, 2, modality=""), Grade.C, "no modality"),
        (volume(0, rows=None), Grade.D, "matrix"),
        (volume(0, 0, modality="DX", orientation=None), Grade.A, None),
        (volume(0, 0, modality="SR", rows=None, has_body_part=False), Grade.A, None),
        (with_one(volume(0, 1, 2), localizer=True, position=None), Grade.A, None),
        ([], Grade.D, "no instance"),
    ],
)
def test_a_series_is_judged_by_its_worst_finding(series, expected, word):
    graded = grade(series)

    assert graded.grade is expected
    assert (word is None) == (graded.findings == ())
    assert word is None or any(word in text for text in graded.findings)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm"])
def test_real_instances_are_read(name):
    dataset = dcmread(get_testdata_file(name))

    facts = slice_of(dataset)

    assert facts.modality == dataset.Modality
    assert facts.rows == dataset.get("Rows")
    assert (facts.position is not None) == ("ImagePositionPatient" in dataset)


def test_nonsense_in_a_header_is_an_absent_number():
    dataset = Dataset()
    dataset.SliceThickness = None
    dataset.ImagePositionPatient = [1, 2]
    dataset.PixelSpacing = None

    facts = slice_of(dataset)

    assert (facts.thickness, facts.position, facts.pixel_spacing) == (None, None, None)
