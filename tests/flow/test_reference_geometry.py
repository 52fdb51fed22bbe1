"""Where readers drew a finding is found again in what is stored of it: SEG, RTSTRUCT, reports."""

import importlib
import io
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

import gateway.sandbox
from deploy.vendor.bench import runtime_library
from gateway.desk.references import References
from gateway.errors import IntegrityFault
from gateway.evaluate.masks import read_masks, unpacked
from gateway.evaluate.predictions import Fault
from gateway.store.drawings import drawing_in, drawing_of
from gateway.store.grids import grid_of
from gateway.store.strata import Strata
from tests.fakes import standards
from tests.fakes.custody_house import House
from tests.flow.test_reference_standards import send

pytestmark = pytest.mark.flow


@pytest.fixture
def sources():
    return list(standards.images(dcmread(get_testdata_file("CT_small.dcm"))))


class Trail:
    def __init__(self):
        self.events = []

    def record(self, event, **facts):
        self.events.append((event, facts))


def stored(tmp_path, *objects):
    """Send objects in by the door; return the images' files, and who drew the label, as judged."""
    house = House(tmp_path)
    index, _ = send(house, *objects)
    series = str(house.engine.pseudo_uid(objects[0].SeriesInstanceUID))
    paths = [house.base / "store" / row["path"] for row in index.files_of_series(series)]
    return house, index, series, paths


def reference(tmp_path, label, *objects):
    house, index, series, paths = stored(tmp_path, *objects)
    strata, trail = Strata(index), Trail()
    references = References(strata, house.base / "store", trail)
    drawn = references.who_drew([series], label).get(series, [])
    return references.of(paths, drawn, label), trail


def test_a_segmentation_lies_where_it_was_drawn(tmp_path, sources):
    seg = standards.segmentation(sources, drawn=True)

    found, _ = reference(tmp_path, "nodule", *sources, seg)

    expected = np.zeros((3, 128, 128), bool)
    expected[1, 10:14, 20:25] = True
    assert np.array_equal(found.mask(), expected)
    (box,) = found.findings()
    assert box.low == pytest.approx((19.5 * 0.661468, 9.5 * 0.661468, 1.25))
    assert box.high == pytest.approx((24.5 * 0.661468, 13.5 * 0.661468, 3.75))


def test_parts_that_do_not_touch_are_findings_of_their_own(tmp_path, sources):
    seg = standards.segmentation(sources, drawn=True)
    values = seg.pixel_array.copy()
    values[2, 100:103, 100:103] = 1
    values[2, 9, 25] = 1  # at a corner of the first
    seg.PixelData = np.packbits(values.ravel(), bitorder="little").tobytes()

    found, _ = reference(tmp_path, "nodule", *sources, seg)

    assert len(found.findings()) == 2


def test_a_report_marks_a_point_on_an_image(tmp_path, sources):
    found, trail = reference(tmp_path, "nodule", *sources, standards.report(sources))

    assert trail.events == []
    (box,) = found.findings()
    assert box.low == box.high == pytest.approx((4.5 * 0.661468, 4.5 * 0.661468, 0.0))
    assert found.mask() is None


def test_structures_are_boxes_of_their_contours(tmp_path, sources):
    structures = standards.structures(sources)
    contour = structures.ROIContourSequence[0].ContourSequence[0]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 3
    contour.ContourData = [10, 10, 2.5, 20, 10, 2.5, 20, 30, 2.5]

    found, _ = reference(tmp_path, "gtv", *sources, structures)

    assert found.findings() == [((10.0, 10.0, 1.25), (20.0, 30.0, 3.75))]


def test_the_grid_is_the_one_the_job_sees(tmp_path, sources):
    turned = [deepcopy(source) for source in sources]
    for number, image in enumerate(turned):
        image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        image.ImagePositionPatient = [5 - 3.5 * number, 7, 9]
    projection = [deepcopy(sources[0])]
    del projection[0].ImagePositionPatient, projection[0].ImageOrientationPatient
    library = runtime_library()

    for number, images in enumerate((sources, turned, projection)):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = [folder / f"{at}.dcm" for at in range(len(images))]
        for file, image in zip(files, reversed(images), strict=True):
            image.save_as(file)
        grid = grid_of(files)
        case = library.Case("1", "p", None, tuple(map(str, files)))
        volume = case.volume()
        shape, place = case.place()
        assert grid.shape == shape == volume.values.shape
        assert np.allclose(grid.affine, place)
        mine, its = grid.box((0, 3, 4), (0, 5, 9)), volume.box(0.5, (0, 3, 4), (0, 5, 9))
        assert mine.low == pytest.approx(its.low)
        assert mine.high == pytest.approx(its.high)


def test_a_vendors_own_segmentation_lies_where_a_readers_does(sources, tmp_path, monkeypatch):
    library = runtime_library()
    monkeypatch.syspath_prepend(Path(gateway.sandbox.__file__).parent / "runtime")
    places = importlib.import_module("radfed_places")
    files = []
    for number, image in enumerate(sources):
        files.append(tmp_path / f"{number}.dcm")
        image.save_as(files[-1])
    sound, moved = (standards.segmentation(sources, drawn=True) for _ in range(2))
    move(moved, 3.0)
    sound.save_as(tmp_path / "sound.dcm")
    moved.save_as(tmp_path / "moved.dcm")
    cases = [library.Case(name, "p", None, tuple(map(str, files))) for name in ("1.1", "1.2")]

    places.write_masks(
        tmp_path / "masks.bin",
        {"1.1": tmp_path / "sound.dcm", "1.2": str(tmp_path / "moved.dcm")},
        cases,
    )

    grid = grid_of(files)
    read = read_masks((tmp_path / "masks.bin").read_bytes(), {"1.1": 1, "1.2": 1})
    found = unpacked(read["1.1"], grid.shape, grid.affine)
    assert np.array_equal(found, drawing_in(sound, "nodule", grid).mask)
    assert unpacked(read["1.2"], grid.shape, grid.affine) is Fault.MISPLACED


def test_what_lies_on_another_grid_is_no_reference(sources, tmp_path):
    files = []
    for number, image in enumerate(sources):
        files.append(tmp_path / f"{number}.dcm")
        image.save_as(files[-1])
    grid = grid_of(files)
    seg = standards.segmentation(sources, drawn=True)
    assert drawing_in(seg, "nodule", grid).mask.sum() == 20
    assert not drawing_in(seg, "other", grid).mask.any()

    def changed(change):
        copy = dcmread(io.BytesIO(written(seg)))
        change(copy)
        file = tmp_path / "seg.dcm"
        copy.save_as(file)
        with pytest.raises(IntegrityFault):
            drawing_of(file, "nodule", grid)

    changed(lambda copy: setattr(copy, "Rows", 64))
    changed(lambda copy: move(copy, 0.5))
    changed(packed_otherwise)
    changed(lambda copy: delattr(copy, "PixelData"))
    changed(lambda copy: setattr(copy.SegmentSequence[0], "SegmentNumber", None))


def packed_otherwise(seg):
    seg.file_meta.TransferSyntaxUID = JPEG2000Lossless
    seg.PixelData = encapsulate([b"no codec reads this"])
    seg["PixelData"].is_undefined_length = True


def move(seg, millimetres):
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.DerivationImageSequence = []
        frame.PlanePositionSequence[0].ImagePositionPatient[0] += millimetres


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_an_object_that_cannot_be_laid_on_its_images_is_on_the_trail(tmp_path, sources):
    seg = standards.segmentation(sources, drawn=True)
    move(seg, 0.5)

    found, trail = reference(tmp_path, "nodule", *sources, seg)

    assert found is None
    assert trail.events[0][0] == "reference_unreadable"
