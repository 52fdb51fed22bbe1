"""The quick look at a stored header sees what pydicom sees."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.line.glance import glance
from gateway.quality.slices import TAGS, slice_of
from tests.fakes.custody_house import House, corrected, shipped

pytestmark = pytest.mark.flow
IMAGES = ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "rtplan.dcm"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("house"))
    for path in sorted(Path(get_testdata_file("CT_small.dcm")).parent.glob("*.dcm")):
        if path.stat().st_size < 1 << 20:
            try:
                instance = shipped(path.name)
            except Exception:  # noqa: BLE001 - files broken on purpose have no file meta
                continue
            house.take(instance)
    return house.files()


def test_it_agrees_with_pydicom_wherever_it_answers(stored):
    answered = 0
    for path in stored:
        seen = glance(path)
        if seen is not None:
            whole = dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            assert slice_of(seen) == slice_of(whole)
            answered += 1
    assert answered >= 8


@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_number_is_no_number_to_either(tmp_path, name):
    house = House(tmp_path)
    house.take(corrected(shipped(name), SliceThickness="", ImagePositionPatient=None))
    (path,) = house.files() or [None]
    if path is not None and (seen := glance(path)) is not None:
        assert slice_of(seen).thickness is None
        assert slice_of(seen).position is None


def test_a_big_endian_file_is_left_to_pydicom(tmp_path):
    house = House(tmp_path)
    house.take(shipped("MR_small_bigendian.dcm"))

    assert [glance(path) for path in house.files()] == [None]
