"""A glance tells what is written at one extreme value, and passes by what nobody wrote on."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread

from gateway.deid.pixel_glance import may_be_written_on

GREY = {"MONOCHROME1", "MONOCHROME2"}
TEXTS = ("SMITH^JOHN 1961-04-23", "ID: 295803410", "KAUFMAN SCOTT [M] 03.09.2012", "Acc# 714661280")
MEASURED = {"CT", "MR", "CR", "DX", "MG", "PT", "NM"}


def written(values, text, size, at, value, *, smoothed=False):
    """Write as devices do: one value, no grey at the edges. Workstations smooth them."""
    canvas = Image.new("L", values.shape[::-1])
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "L" if smoothed else "1"
    draw.text(at, text, font=ImageFont.load_default(size), fill=255)
    share = np.asarray(canvas) / 255
    return (values * (1 - share) + value * share).round().astype(values.dtype)


def noise(shape, low=-1000, high=1500, seed=7):
    """A patient of smooth tissue in the air of a scanner."""
    chance = np.random.default_rng(seed)
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    body = ((ys / shape[0] - 0.5) ** 2 + (xs / shape[1] - 0.5) ** 2) < 0.12
    values = np.where(body, 40, low) + chance.normal(0, 25, shape)
    values[shape[0] // 2 : shape[0] // 2 + 30, 100:140] = (
        high - 200 + chance.normal(0, 60, (30, 40))
    )
    return values.round().clip(low - 100, high).astype(np.int16)


@pytest.mark.parametrize("size", [11, 13, 16, 20, 28])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("at", [(4, 4), (4, 470), (150, 230)])
def test_a_line_at_the_highest_value_is_seen(text, size, at):
    values = noise((512, 512))
    assert not may_be_written_on(values)

    assert may_be_written_on(written(values, text, size, at, 3071))
    assert may_be_written_on(written(values, text, size, at, values.max()))


@pytest.mark.parametrize("size", [13, 16, 20, 28])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("at", [(4, 4), (4, 470), (150, 230)])
def test_a_line_with_smoothed_edges_is_seen_above_all_values_of_the_image(text, size, at):
    assert may_be_written_on(written(noise((512, 512)), text, size, at, 3071, smoothed=True))


def test_dark_letters_on_a_bright_ground_are_seen():
    values = 4000 - noise((512, 512))

    assert may_be_written_on(written(values, TEXTS[0], 16, (4, 4), values.min()))


@pytest.mark.parametrize("shape", [(40, 40), (3, 200), (200, 3), (8, 8)])
def test_saturated_patches_and_lines_are_no_text(shape):
    values = noise((512, 512))
    values[100 : 100 + shape[0], 60 : 60 + shape[1]] = 3071

    assert not may_be_written_on(values)
    assert not may_be_written_on(np.zeros((512, 512), np.uint16))


def test_no_clean_image_in_the_wheel_is_suspected():
    suspected, seen = [], 0
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm")):
        try:
            dataset = dcmread(path)
            native = not dataset.file_meta.TransferSyntaxUID.is_compressed
            grey = dataset.PhotometricInterpretation in GREY and dataset.Modality in MEASURED
            values = dataset.pixel_array if native and grey else np.zeros(0)
        except Exception:  # noqa: BLE001 - damaged on purpose, or no image
            continue
        frame = values[0] if values.ndim > 2 else values
        if frame.ndim == 2:
            seen += 1
            suspected += [path.name] if may_be_written_on(frame) else []
    assert seen > 5
    assert suspected == []
