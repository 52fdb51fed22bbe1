"""The reader library of the runtime: series become volumes that know where they are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from scipy.spatial.transform import Rotation

import gateway.sandbox

pytestmark = pytest.mark.flow
SOURCE = Path(gateway.sandbox.__file__).parent / "runtime" / "radfed_job.py"


@pytest.fixture(scope="module")
def library():
    spec = importlib.util.spec_from_file_location("radfed_job_under_test", SOURCE)
    import sys

    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_case(library, folder, axes, count=4, between=2.5, *, reverse=False):
    """Write a CT series whose slices stand along the normal of these axes; return its case."""
    row, column = axes
    normal = np.cross(row, column)
    order = range(count)
    for number in reversed(order) if reverse else order:
        image = dcmread(get_testdata_file("CT_small.dcm"))
        image.ImageOrientationPatient = [*map(float, row), *map(float, column)]
        image.ImagePositionPatient = [float(v) for v in normal * number * between + (10, 20, 30)]
        image.InstanceNumber = str(count - number if reverse else number)
        image.PixelSpacing = [0.5, 0.75]
        image.RescaleSlope, image.RescaleIntercept = 2, -1000
        stored = np.full((128, 128), 100 + number, "<i2")
        image.PixelData = stored.tobytes()
        image.save_as(folder / f"{number}.dcm")
    files = tuple(str(path) for path in sorted(folder.iterdir()))
    return library.Case("c", "p", None, files)


@pytest.mark.parametrize(
    ("axes", "name"),
    [
        (([1, 0, 0], [0, 1, 0]), "HPL"),  # axial
        (([1, 0, 0], [0, 0, -1]), "PFL"),  # coronal
        (([0, 1, 0], [0, 0, -1]), "RFP"),  # sagittal
    ],
)
def test_a_volume_is_sorted_scaled_and_placed(library, tmp_path, axes, name):
    volume = a_case(library, tmp_path, axes).volume()

    assert volume.values.dtype == np.float32
    assert [plane[0, 0] for plane in volume.values] == [-800, -798, -796, -794]
    assert volume.spacing == (2.5, 0.5, 0.75)
    assert volume.orientation == name
    row, column = map(np.array, axes)
    last = volume.affine @ [3, 2, 1, 1]
    expected = np.array([10, 20, 30]) + np.cross(row, column) * 7.5 + column * 1.0 + row * 0.75
    assert np.allclose(last[:3], expected)


def test_slices_of_an_oblique_series_are_sorted_by_place_and_not_by_number(library, tmp_path):
    turned = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()

    volume = a_case(library, tmp_path, (turned[:, 0], turned[:, 1]), reverse=True).volume()

    assert [plane[0, 0] for plane in volume.values] == [-800, -798, -796, -794]
    assert np.isclose(volume.spacing[0], 2.5, atol=1e-3)
    assert np.isclose(abs(np.linalg.det(volume.affine[:3, :3])), 2.5 * 0.5 * 0.75, rtol=1e-3)


def test_what_says_nothing_of_its_place_has_no_affine(library, tmp_path):
    image = dcmread(get_testdata_file("CT_small.dcm"))
    del image.ImageOrientationPatient
    image.save_as(tmp_path / "1.dcm")

    volume = library.Case("c", "p", None, (str(tmp_path / "1.dcm"),)).volume()

    assert (volume.affine, volume.orientation) == (None, None)
    assert volume.values.shape == (1, 128, 128)
