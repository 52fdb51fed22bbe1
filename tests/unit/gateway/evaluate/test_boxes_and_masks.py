import gzip
import importlib.util
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label
from scipy.spatial.transform import Rotation

import gateway.sandbox
from gateway.evaluate.boxes import HEADER, MARKS_AT_MOST, Boxed, read_boxes
from gateway.evaluate.detections import Mark, centre, iou, merged, off
from gateway.evaluate.masks import MAGIC, Packed, read_masks, unpacked
from gateway.evaluate.overlap import Overlaps, compare, overlapped
from gateway.evaluate.predictions import Fault
from gateway.evaluate.statistics import NoStatistics, StatisticsCode
from gateway.model import Box
from protos.evaluation import Hit

RUNTIME = Path(gateway.sandbox.__file__).parent / "runtime"
CASES = {"1.1": 1, "1.2": 0}
PLACE = np.array([[0.0, 0, 0.5, -10], [0, 0.5, 0, -20], [2.5, 0, 0, 30], [0, 0, 0, 1]])


def runtime(name):
    spec = importlib.util.spec_from_file_location(f"{name}_under_test", RUNTIME / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(*lines):
    return "\n".join((",".join(HEADER), *lines, "")).encode()


def test_boxes_are_read_by_case_and_a_case_may_have_none():
    read = read_boxes(rows("1.1,0.9,0,0,0,1,2,3", "1.1,0.5,4,4,4,5,5,5", "1.2,,,,,,,"), CASES)

    assert read.marks["1.1"][0] == Mark(Box((0, 0, 0), (1, 2, 3)), 0.9)
    assert (len(read.marks["1.1"]), read.marks["1.2"], read.faults) == (2, [], {})


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["9.9,0.5,0,0,0,1,1,1"], StatisticsCode.UNKNOWN_CASE),
        (["1.1,0.5,0,0,0,1,1,1"] * 2, StatisticsCode.DUPLICATE_CASE),
        (["1.1,0.5,0,0,0,1,1,1", "1.1,,,,,,,"], StatisticsCode.DUPLICATE_CASE),
        (["1.1,0.5,0,0,0,1,1"], StatisticsCode.MALFORMED),
    ],
)
def test_a_file_of_boxes_that_cannot_be_trusted_gives_nothing(lines, code):
    assert read_boxes(rows(*lines), CASES) == NoStatistics(code)


@pytest.mark.parametrize(
    "line", ["1.01,0,0,0,1,1,1", "nan,0,0,0,1,1,1", "0.5,2,0,0,1,1,1", "0.5,inf,0,0,1,1,1",
             "0.5,0,0,0,1e9,1,1", "high,0,0,0,1,1,1"],
)  # fmt: skip
def test_a_box_that_is_none_makes_its_case_unusable(line):
    read = read_boxes(rows(f"1.1,{line}", "1.1,0.5,0,0,0,1,1,1"), CASES)

    assert read.faults == {"1.1": Fault.UNUSABLE, "1.2": Fault.MISSING}


def test_nobody_may_mark_everything():
    many = [f"1.1,0.5,{n},0,0,{n + 1},1,1" for n in range(MARKS_AT_MOST + 1)]

    assert read_boxes(rows(*many), CASES).faults["1.1"] is Fault.UNUSABLE
    assert "1.1" in read_boxes(rows(*many[:-1]), CASES).marks


@given(st.binary(max_size=200))
def test_noise_for_boxes_and_masks_is_an_outcome(raw):
    assert isinstance(read_boxes(raw, CASES), Boxed | NoStatistics)
    assert isinstance(read_masks(raw, CASES), dict | NoStatistics)
    assert isinstance(read_masks(MAGIC + raw, CASES), dict | NoStatistics)


def test_what_a_hit_is_stands_in_the_protocol():
    finding, near = Box((0, 0, 0), (10, 10, 10)), Box((8, 0, 0), (18, 10, 10))

    assert iou(finding, near) == pytest.approx(200 / 1800)
    assert off(near, finding, Hit()) == math.inf  # its centre is at 13
    assert off(near, finding, Hit(by="distance", at=8.0)) == 8.0
    assert off(near, finding, Hit(by="distance", at=7.9)) == math.inf
    assert off(near, finding, Hit(by="iou", at=0.1)) == pytest.approx(8 / 9)
    assert off(near, finding, Hit(by="iou", at=0.2)) == math.inf
    assert off(finding, near, Hit()) == math.inf
    assert centre(near) == (13, 5, 5)


def test_findings_of_two_readers_that_touch_are_one():
    first = [Box((0, 0, 0), (2, 2, 2)), Box((1, 1, 1), (3, 3, 3))]  # one reader's stay two
    second = [Box((50, 0, 0), (51, 1, 1))]

    assert merged({"a": first, "b": second}) == [*first, *second]
    assert merged({"a": first[:1], "b": [Box((1, 1, 1), (5, 5, 5))]}) == [Box((0, 0, 0), (5, 5, 5))]
    assert merged({}) == []


class Case:
    def __init__(self, name, shape):
        self.name, self.place = name, lambda: (shape, PLACE)


def written(tmp_path, found, shape=(4, 6, 5)):
    runtime("radfed_places").write_masks(
        str(tmp_path / "masks.bin"), found, [Case(name, shape) for name in CASES]
    )
    return (tmp_path / "masks.bin").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mask_comes_out_as_it_went_in(tmp_path, share):
    mask = np.random.default_rng(3).random((4, 6, 5)) < share

    raw = written(tmp_path, {"1.1": mask})

    for form in (raw, memoryview(raw)):  # large outputs stay where they were spooled
        packed = read_masks(form, CASES)["1.1"]
        assert np.array_equal(unpacked(packed, (4, 6, 5), PLACE), mask)


def test_a_mask_on_another_grid_is_misplaced(tmp_path):
    packed = read_masks(written(tmp_path, {"1.1": np.ones((4, 6, 5))}), CASES)["1.1"]
    moved = PLACE.copy()
    moved[0, 3] += 1.0

    assert unpacked(packed, (4, 6, 6), PLACE) is Fault.MISPLACED
    assert unpacked(packed, (4, 6, 5), moved) is Fault.MISPLACED
    lost = Packed(packed.shape, np.full((3, 4), np.nan), packed.runs)
    assert unpacked(lost, (4, 6, 5), PLACE) is Fault.MISPLACED
    short = Packed(packed.shape, packed.affine, packed.runs[:1])
    assert unpacked(short, (4, 6, 5), PLACE) is Fault.UNUSABLE


def test_a_file_of_masks_that_cannot_be_trusted_gives_nothing(tmp_path):
    raw = written(tmp_path, {"1.1": np.ones((4, 6, 5))})

    assert read_masks(raw[:-1], CASES) == NoStatistics(StatisticsCode.MALFORMED)
    assert read_masks(raw + raw[8:], CASES) == NoStatistics(StatisticsCode.DUPLICATE_CASE)
    assert read_masks(raw, {"7": 1}) == NoStatistics(StatisticsCode.UNKNOWN_CASE)
    assert read_masks(b"", CASES) == NoStatistics(StatisticsCode.MALFORMED)
    endless = raw[:8] + struct.pack("<H3s3I12dI", 3, b"1.1", 4, 6, 5, *[0.0] * 12, 2**32 - 1)
    assert read_masks(endless, CASES) == NoStatistics(StatisticsCode.MALFORMED)


def a_nifti(path, mask, affine, *, big=False):
    """Write a NIfTI-1 file of a (x, y, z) array: the header's fields at the standard's offsets."""
    order, head = ">" if big else "<", bytearray(352)
    struct.pack_into(f"{order}i", head, 0, 348)
    struct.pack_into(f"{order}8h", head, 40, 3, *mask.shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}hh", head, 70, 2, 8)
    struct.pack_into(f"{order}f", head, 108, 352.0)
    struct.pack_into(f"{order}hh", head, 252, 0, 1)
    struct.pack_into(f"{order}12f", head, 280, *np.asarray(affine)[:3].ravel())
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + mask.astype("u1").tobytes(order="F"))
    return str(path)


@pytest.mark.parametrize("flipped", [(), (0,), (1, 2)])
@pytest.mark.parametrize("big", [False, True])
def test_nifti_is_laid_on_the_grid_however_its_axes_run(tmp_path, flipped, big):
    mask = np.random.default_rng(5).random((4, 6, 5)) < 0.4
    ras = np.diag([-1, -1, 1, 1]) @ PLACE[:, [2, 1, 0, 3]]  # (x, y, z) to right, front, head
    stored = mask.transpose(2, 1, 0)
    for axis in flipped:
        stored = np.flip(stored, axis)
        ras[:, 3] += ras[:, axis] * (stored.shape[axis] - 1)
        ras[:, axis] *= -1

    path = a_nifti(tmp_path / "mask.nii", stored, ras, big=big)
    packed = read_masks(written(tmp_path, {"1.1": path}), CASES)["1.1"]

    assert np.array_equal(unpacked(packed, (4, 6, 5), PLACE), mask)


def test_a_nifti_that_is_turned_by_a_quaternion_lies_where_scipy_puts_it(tmp_path):
    turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    b, c, d, a = turn.as_quat()
    sign = 1 if a >= 0 else -1
    mask = np.ones((5, 6, 4), bool)
    raw = bytearray(Path(a_nifti(tmp_path / "m.nii", mask, np.eye(4))).read_bytes())
    struct.pack_into("<8f", raw, 76, -1.0, 0.5, 0.7, 2.0, 1, 1, 1, 1)  # qfac, spacings
    struct.pack_into("<hh", raw, 252, 1, 0)
    struct.pack_into("<6f", raw, 256, sign * b, sign * c, sign * d, 11.0, 12.0, 13.0)
    (tmp_path / "m.nii.gz").write_bytes(gzip.compress(bytes(raw)))

    found, affine = runtime("radfed_places").read_nifti(str(tmp_path / "m.nii.gz"))

    assert found.shape == (4, 6, 5)
    steps = turn.as_matrix() * [0.5, 0.7, -2.0]
    ras = np.column_stack([steps[:, [2, 1, 0]], [11.0, 12.0, 13.0]])
    assert np.allclose(affine[:3], np.diag([-1, -1, 1]) @ ras, atol=1e-5)


def test_patients_are_counted_by_dice_and_distance_and_the_empty_ones_apart():
    ball = np.zeros((9, 9, 9), bool)
    ball[3:6, 3:6, 3:6] = True
    none = np.zeros_like(ball)
    cell = Overlaps()

    for product, reference, positive in [
        (ball, ball, True),
        (none, ball, True),
        (ball, none, False),
    ]:
        case = compare(product, reference, (1.0, 1.0, 1.0))
        cell.add(overlapped([case], {}, positive=positive))
    cell.add(overlapped([compare(none, none, (1.0, 1.0, 1.0))], {}, positive=False))

    assert cell.size == (2, 2)
    assert (cell.dice[0], cell.dice[-1], cell.hd95[0], cell.undrawn) == (1, 1, 1, 1)
    assert (cell.drawn_without, cell.dice_sum, cell.dice_sum2) == (1, 1000, 1000**2)
    assert label(ball)[1] == 1
