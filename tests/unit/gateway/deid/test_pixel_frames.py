"""Stored values: blanked in boxes, and not a bit elsewhere, however they are stored."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from gateway.deid.pixel_frames import Box, Form, Frames, Undecodable
from gateway.deid.pixel_look import Doubt, Look
from gateway.deid.pixel_text import Reading, is_text, may_be_text, written
from gateway.deid.pixel_views import views

BOX = Box(3, 2, 9, 6)


def an_image(
    photometric="MONOCHROME2", *, bits=8, stored=None, frames=1, planar=0, signed=False, scale=1
):
    dataset = Dataset()
    samples = 1 if photometric.startswith(("MONO", "PAL")) else 3
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 10 * scale, 12 * scale, frames
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = samples, photometric
    dataset.BitsAllocated, dataset.BitsStored = bits, stored or bits
    dataset.PixelRepresentation, dataset.PlanarConfiguration = int(signed), planar
    count = 120 * scale**2 * frames * (2 if photometric == "YBR_FULL_422" else samples)
    values = np.random.default_rng(1).integers(1, 100, count).astype(f"<u{bits // 8}")
    dataset.add_new(0x7FE00010, "OW" if bits > 8 else "OB", values.tobytes())
    return dataset


def blanked(dataset, syntax=ExplicitVRLittleEndian):
    frames = Frames(dataset, syntax, Form.of(dataset))
    before = np.stack([frame.copy() for frame in frames])
    frames.blank(BOX)
    dataset.PixelData = frames.bytes()
    again = Frames(dataset, syntax, Form.of(dataset))
    return before, np.stack([frame.copy() for frame in again])


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"photometric": "MONOCHROME1"},
        {"bits": 16, "stored": 12},
        {"bits": 16, "signed": True, "frames": 3},
        {"bits": 32},
        {"photometric": "RGB"},
        {"photometric": "RGB", "planar": 1, "frames": 2},
        {"photometric": "YBR_FULL"},
        {"photometric": "YBR_FULL_422", "frames": 2},
    ],
)
def test_what_is_blanked_is_dark_in_every_frame_and_the_rest_is_untouched(kind):
    dataset = an_image(**kind)
    sent = dataset.PixelData

    before, after = blanked(dataset)

    inside = np.zeros(before.shape[:3], bool)
    left = BOX.left - BOX.left % 2 if kind.get("photometric") == "YBR_FULL_422" else BOX.left
    right = BOX.right + BOX.right % 2 if kind.get("photometric") == "YBR_FULL_422" else BOX.right
    inside[:, BOX.top : BOX.bottom, left:right] = True
    assert len(dataset.PixelData) == len(sent)
    assert np.array_equal(before[~inside], after[~inside])
    filled = np.unique(after[inside].reshape(inside.sum(), -1), axis=0)
    assert len(filled) == 1
    edge = before.max() if kind.get("photometric") == "MONOCHROME1" else before.min()
    assert filled[0][0] in (edge, 0)


@pytest.mark.parametrize("name", ["ExplVR_BigEnd.dcm", "examples_palette.dcm", "SC_rgb_rle.dcm"])
def test_a_real_file_of_each_form_is_decoded_as_pydicom_does(name):
    dataset = dcmread(get_testdata_file(name))
    syntax = dataset.file_meta.TransferSyntaxUID

    frames = Frames(dataset, syntax, Form.of(dataset))

    assert np.array_equal(frames.frame(0), dataset.pixel_array)
    if frames.native:
        assert frames.bytes() == dataset.PixelData
    else:
        assert syntax == RLELossless


def test_bytes_in_words_of_the_other_order_are_seen_the_right_way_round():
    little, big = an_image(), an_image()
    raw = bytearray(big.PixelData)
    raw[0::2], raw[1::2] = raw[1::2], raw[0::2]
    big.add_new(0x7FE00010, "OW", bytes(raw))

    as_big = Frames(big, ExplicitVRBigEndian, Form.of(big))
    as_little = Frames(little, ExplicitVRLittleEndian, Form.of(little))

    assert np.array_equal(as_big.frame(0), as_little.frame(0))
    assert as_big.bytes() == bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        {"Rows": 0},
        {"Rows": 1000},
        {"BitsAllocated": 1},
        {"BitsStored": 4},  # an overlay may lie in the others
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "HSV"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"BitsStored": 12},
    ],
)
def test_what_cannot_be_seen_for_sure_is_not_looked_at(damage):
    dataset = an_image()
    for keyword, value in damage.items():
        setattr(dataset, keyword, value)

    with pytest.raises(Undecodable):
        Frames(dataset, ExplicitVRLittleEndian, Form.of(dataset))


def test_faint_text_and_text_over_what_is_bright_are_both_in_some_view():
    values = np.full((64, 64), 1000, np.uint16)
    values[40:] = 30000
    values[10:14, 10:30] = 2500  # faint, in the dark part
    values[50:54, 18:24] = 65535  # over the bright one
    dataset = an_image(bits=16)
    form = Form.of(dataset)

    seen = views(values, form, "MONOCHROME2", None)

    def contrast(picture, row):
        return abs(int(picture[row, 20, 0]) - int(picture[row + 6, 20, 0]))

    assert max(contrast(picture, 12) for picture in seen) > 8
    assert max(contrast(picture, 52) for picture in seen) > 60


class Script:
    """A reader that sees one thing after the other, whatever the picture."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.shown = 0

    def read(self, _picture, *, closely):
        self.shown += 1
        assert closely in (True, False)
        return self.answers.pop(0) if self.answers else []


def said(text="WANG^WEI", *, found=0.8, read=0.95, box=BOX, share=0.05):
    return Reading(box, text, found, read, share)


def look(dataset, reader, out_of_time=lambda: False):
    frames = Frames(dataset, ExplicitVRLittleEndian, Form.of(dataset))
    return Look(frames, reader, out_of_time).clean([]), frames


def test_text_in_one_frame_is_blanked_in_all():
    (boxes, frames) = look(an_image(frames=4, scale=4), Script([], [said(box=Box(5, 5, 6, 6))]))

    assert len(boxes.boxes) == 1
    assert all((frame[2:9, 2:9] == frames.frame(0).min()).all() for frame in frames)


def test_every_frame_that_shows_something_new_is_looked_at():
    dataset = an_image(frames=6)
    still = bytes(120) * 6
    moving = Script()
    look(dataset, moving)
    dataset.PixelData = still
    quiet = Script()
    look(dataset, quiet)

    assert moving.shown >= 6
    assert quiet.shown < moving.shown


@pytest.mark.parametrize(
    ("readings", "why"),
    [
        ([[said(box=Box(1, 1, 2, 2))]] * 20, "left in its pixels"),
        ([[said(box=Box(0, 0, 48, 36))]], "most of its pixels"),
        ([[said("ABC", read=0.4)]], "cannot be read for sure"),
    ],
)
def test_where_a_doubt_remains_an_operator_looks(readings, why):
    with pytest.raises(Doubt, match=why):
        look(an_image(scale=4), Script(*readings))


def test_time_is_bounded():
    with pytest.raises(Doubt, match="seconds_at_most"):
        look(an_image(), Script(), out_of_time=lambda: True)


@pytest.mark.parametrize(
    ("reading", "text", "doubtful"),
    [
        (said("张伟"), True, False),
        (said("78F78", found=0.4, read=0.99), True, False),
        (said("00OO0", read=0.9), False, False),  # a ring, or noise
        (said("一", read=0.7), False, False),
        (said("WA", found=0.59, read=0.61, box=Box(288, 0, 300, 31)), False, False),  # a ring
        (said("张伟", read=0.95, box=Box(288, 0, 300, 31)), True, False),
        (said("APN", found=0.38, read=0.52), False, False),
        (said("解神学", read=0.43), False, True),
        (said("解神学", read=0.43, share=0.4), False, False),  # an organ
    ],
)
def test_text_is_told_from_what_looks_like_it(reading, text, doubtful):
    assert is_text(reading) == text
    assert (may_be_text(reading) and not is_text(reading)) == doubtful


def test_the_tightest_box_of_the_same_words_is_kept_with_what_stands_beside():
    tight, loose = Box(10, 10, 60, 20), Box(5, 0, 70, 30)
    beside = said("M", read=0.2, box=Box(64, 10, 72, 20))

    boxes = written([said(box=loose), said(box=tight), beside])

    assert boxes == [tight, beside.box]
