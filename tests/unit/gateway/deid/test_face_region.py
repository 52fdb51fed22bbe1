"""What of an invented face is gone, and what of its brain is not."""

from contextlib import nullcontext

import numpy as np
import pytest

from gateway.deid import face_volume
from gateway.deid.face_finding import NoFace
from gateway.deid.face_planes import Plane, Unplaced, planes_of
from gateway.deid.face_region import Found, NotLikeTheRest, Region, region_of
from gateway.deid.face_volume import NoVolume, Survey
from tests.fakes.head_scans import a_slice
from tests.fakes.heads import Head, axial, coronal, sagittal


class Turned(Head):
    """As a header tells it that has front and back the wrong way round."""

    def tissue(self, x, y, z):
        return super().tissue(x, -y, z)


class ArmsUp(Head):
    def tissue(self, x, y, z):
        arms = sum(np.hypot(x - side * 125, y) < 40 for side in (-1, 1)) > 0
        shoulders = (np.hypot(x / 165, y / 60) < 1) & (z < -150)
        return super().tissue(x, y, z) | (arms & (z < 200) & (z > -170)) | shoulders


HEADS = {
    "ct": (Head(), axial(), "ct"),
    "ct of thin slices": (Head(nose=0.8, chin=1.3, nod=8), axial(count=280, thick=1.0), "ct"),
    "gantry tilted": (Head(), axial(tilt=18, low=-190, count=85), "ct"),
    "gantry tilted back": (Head(), axial(tilt=-18, low=-120, count=85), "ct"),
    "looks up": (Head(nod=15), axial(low=-170, count=80), "ct"),
    "looks down": (Head(nod=-15), axial(), "ct"),
    "child": (Head(scale=0.65), axial(), "ct"),
    "child looks up": (Head(scale=0.65, nod=12), axial(), "ct"),
    "far from the origin": (Head(shift=(20, -10, 900)), axial(low=750), "ct"),
    "top cut off": (Head(), axial(count=40, low=-120), "ct"),
    "arms beside": (ArmsUp(), axial(count=70, low=-190, spacing=3.0), "ct"),
    "mr axial, thick": (Head(), axial(count=24, thick=6.0, low=-30), "mr"),
    "mr sagittal": (Head(), sagittal(), "mr"),
    "mr coronal": (Head(scale=0.8, nod=5), coronal(), "mr"),
}


def plane_of(stack, number):
    across, down = np.array(stack.across) * stack.spacing, np.array(stack.down) * stack.spacing
    return Plane(stack.origin(number), across, down, stack.rows, stack.columns)


def surveyed(head, stack, kind, numbers=None):
    survey = Survey()
    for number in range(stack.count) if numbers is None else numbers:
        points = np.broadcast_arrays(*stack.points(number))
        survey.add(plane_of(stack, number), getattr(head, kind)(*points, number), "1.2.3")
    return survey


def region_for(head, stack, kind, numbers=None, *, with_ears=False):
    survey = surveyed(head, stack, kind, numbers)
    found = region_of(survey, is_ct=kind == "ct", sure=True, with_ears=with_ears)
    return Region.of_json(found.as_json())  # as it is kept


class Rays:
    """Points on a plane across the head, asked as if they were a slice's."""

    def __init__(self, region, *points):
        self.corners = np.array([region.low, region.high])
        self.points = points

    def along(self, axis):
        return self.points[axis].astype(np.float32)


def depth_maps(head, region):
    """How far a ray from the front goes before it meets skin: before and after."""
    x = np.arange(-55, 56, 2.0) * head.scale
    low, high = (limit[2] - head.shift[2] for limit in (region.low, region.high))
    z = np.arange(max(-95 * head.scale, low + 3), min(15 * head.scale, high - 3), 2.0)
    across, up = np.meshgrid(x, z)
    before, after = np.full(across.shape, np.nan), np.full(across.shape, np.nan)
    for y in np.arange(60, -140, -1.0) * head.scale:
        point = (across + head.shift[0], np.full_like(across, y) + head.shift[1])
        tissue = head.tissue(*point, up + head.shift[2])
        gone = region.mask(Rays(region, *point, up + head.shift[2]), "1.2.3")
        before[tissue] = y
        after[tissue if gone is None else tissue & ~gone] = y
    return across, up, before, after


def features(x, z, depth):
    """What is left of a face once the head's own roundness is taken off it."""
    terms = np.stack([np.ones_like(x), x, z, x * x, x * z, z * z], axis=-1)
    return depth - terms @ np.linalg.lstsq(terms, depth, rcond=None)[0]


@pytest.mark.parametrize("name", HEADS)
def test_the_face_is_gone_and_the_brain_is_whole(name):
    head, stack, kind = HEADS[name]

    region = region_for(head, stack, kind)

    assert region.found is Found.FACE
    for number in range(stack.count):
        gone = region.mask(plane_of(stack, number), "1.2.3")
        if gone is not None:
            assert not (gone & head.brain(*np.broadcast_arrays(*stack.points(number)))).any()
    x, z, before, after = depth_maps(head, region)
    skin = np.isfinite(before)
    skin &= before < np.nanpercentile(before, 5) + 65 * head.scale  # it faces forward
    dug = np.nan_to_num(after, nan=999.0) - before
    assert (dug[skin] >= 2).mean() > 0.95
    assert np.median(dug[skin]) > 10 * head.scale
    met = skin & np.isfinite(after)
    left = np.corrcoef(*(features(x[met], z[met], d[met]) for d in (before, after)))[0, 1]
    assert abs(left) < 0.4


def test_two_people_look_the_same_once_their_faces_are_gone():
    one, other = Head(), Head(nose=1.25, chin=1.4, eyes=36.0)
    maps = [depth_maps(head, region_for(head, axial(), "ct")) for head in (one, other)]
    met = np.logical_and.reduce(
        [np.isfinite(m) for _, _, before, after in maps for m in (before, after)]
    )
    x, z = maps[0][0][met], maps[0][1][met]
    shapes = [[features(x, z, m[met]) for m in (before, after)] for _, _, before, after in maps]
    own = [before - after for before, after in shapes]

    differed = np.abs(shapes[0][0] - shapes[1][0]).mean()
    differ = np.abs(shapes[0][1] - shapes[1][1]).mean()

    assert differed > 0.8
    assert differ < differed
    assert all(np.abs(part).mean() > 1 for part in own)


@pytest.mark.parametrize("name", ["ct", "child", "gantry tilted", "mr sagittal", "mr coronal"])
def test_ears_go_where_the_profile_wants_it(name):
    head, stack, kind = HEADS[name]
    regions = [region_for(head, stack, kind, with_ears=wanted) for wanted in (False, True)]

    gone, all_ears, brain, changed = [0, 0], 0, 0, 0
    for number in range(stack.count):
        points = np.broadcast_arrays(*stack.points(number))
        ear, plane = head.ear(*points), plane_of(stack, number)
        masks = [region.mask(plane, "1.2.3") for region in regions]
        masks = [np.zeros_like(ear) if mask is None else mask for mask in masks]
        all_ears += ear.sum()
        gone = [sum_ + (mask & ear).sum() for sum_, mask in zip(gone, masks, strict=True)]
        brain += (masks[1] & head.brain(*points)).sum()
        changed += (masks[1] & ~masks[0] & head.tissue(*points) & ~ear).sum()

    assert gone[0] == 0
    assert gone[1] > 0.9 * all_ears
    assert brain == 0
    assert changed < 3 * all_ears  # skin beside them, and no more


def test_a_slice_that_was_missing_gets_the_region_of_the_others():
    head, stack = Head(), axial()
    without = region_for(head, stack, "ct", [n for n in range(stack.count) if n != 30])
    whole = region_for(head, stack, "ct")

    masks = [region.mask(plane_of(stack, 30), "1.2.3") for region in (without, whole)]

    assert masks[0].sum() > 200
    assert (masks[0] ^ masks[1]).sum() < 0.1 * masks[1].sum()


@pytest.mark.parametrize(
    ("stack", "numbers", "says"),
    [
        (axial(), [*range(15), *range(40, 70)], "missing"),
        (axial(count=10, thick=20.0), None, "apart"),
        (sagittal(count=2), None, "too few"),
    ],
)
def test_what_is_no_volume_is_named(stack, numbers, says):
    with pytest.raises(NoVolume, match=says):
        region_for(Head(), stack, "ct", numbers)


@pytest.mark.parametrize(("bound", "at_most"), [("SKETCHES", 3), ("SKETCHED", 3 * 128 * 128)])
def test_no_more_is_kept_of_a_series_than_there_is_room_for(monkeypatch, bound, at_most):
    monkeypatch.setattr(face_volume, f"{bound}_AT_MOST", at_most)
    stack, survey = axial(count=6), Survey()

    for number in range(6):
        with pytest.raises(NoVolume) if number >= 3 else nullcontext():
            survey.add(plane_of(stack, number), np.zeros((128, 128)), "1.2.3")

    assert len(survey._sketches) == 3


def test_a_thin_slab_across_the_body_shows_no_face_and_one_along_it_does():
    assert region_for(Head(), axial(count=7, low=-40), "ct").found is Found.SLAB
    with pytest.raises(NoVolume):
        region_for(Head(), sagittal(count=1), "mr")


@pytest.mark.parametrize(
    ("head", "stack"),
    [
        (Turned(), axial()),
        (ArmsUp(), axial(count=100, low=-190, spacing=3.0)),
    ],
)
def test_a_head_that_is_not_as_it_should_be_is_refused(head, stack):
    with pytest.raises(NoFace):
        region_for(head, stack, "ct")


def test_a_series_of_air_has_no_head():
    with pytest.raises(NoFace):
        region_for(Head(shift=(0, 0, 5000.0)), axial(), "ct")


def test_a_slice_of_another_frame_of_reference_or_place_is_not_like_the_rest():
    region = region_for(Head(), axial(), "ct")
    inside, beyond = plane_of(axial(), 10), plane_of(axial(count=90), 85)

    with pytest.raises(NotLikeTheRest):
        region.mask(inside, "1.2.4")
    with pytest.raises(NotLikeTheRest):
        region.mask(beyond, "1.2.3")


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"PixelSpacing": None},
        {"PixelSpacing": [0, 1]},
        {"PixelSpacing": ["1E-309", "1"]},
        {"PixelSpacing": ["1", "1E+200"]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImagePositionPatient": [0, 0, 1e9]},
        {"NumberOfFrames": 2},
    ],
)
def test_a_slice_that_does_not_say_where_it_lies_has_no_plane(elements):
    with pytest.raises(Unplaced):
        planes_of(a_slice(Head(), axial(), 0, **elements))
