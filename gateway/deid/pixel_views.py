"""What a person could see in a frame: its values as 8-bit pictures, one for each way to look."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydicom.pixels.processing import convert_color_space

from gateway.deid.pixel_frames import BYTE, YBR, Form, Lut, Values

Picture = NDArray[np.uint8]  # rows by columns by three
SPREAD = (1.0, 99.0)  # percentiles of the window in which anatomy is seen
FULL = 255
FAINT = 0.15
AROUND, GAIN = 8, 3  # pixels of the surroundings; how much plainer than it was
NARROW, WIDE = 0.3, 0.8  # of the whole range: past it the window shows little more than all values


def views(values: Values, form: Form, photometric: str, lut: Lut | None) -> list[Picture]:
    """Return pictures that together show whatever a viewer may show."""
    if lut is not None:
        at = (values.astype(np.int64) - lut.first).clip(0, len(lut.colours) - 1)
        return [lut.colours[at]]
    if form.samples > 1:
        bright = values if form.allocated == BYTE else _scaled(values, *_range(values))
        if photometric in YBR:
            return [convert_color_space(bright.astype(np.uint8), "YBR_FULL", "RGB")]
        return [np.ascontiguousarray(bright, np.uint8)]
    seen = _within(values, form)
    is_byte = form.allocated == BYTE and not form.signed
    low, high = (0.0, float(FULL)) if is_byte else _range(seen)
    # In a window of the anatomy faint text shows; in that of all values, text over what is bright.
    near, far = np.percentile(seen, SPREAD)
    wide = _grey(_scaled(seen, low, high))
    if high <= low:
        return [wide]
    if far <= near:  # nearly all of it is one value: what is faint stands a little off it
        near, far = near - FAINT * (high - low), far + FAINT * (high - low)
    if (far - near) > (high - low) * (NARROW if is_byte else WIDE):
        return [wide]
    return [_grey(_scaled(seen, near, far)), wide]


def strokes(picture: Picture) -> Picture:
    """Return what stands out of its surroundings, bright or dark: faint text on any ground."""
    around = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(AROUND)))
    out = picture.astype(np.int16) - around
    seen: Picture = (FULL // 2 + GAIN * out).clip(0, FULL).astype(np.uint8)
    return seen


def _within(values: Values, form: Form) -> Values:
    """Leave out the bits that are not of the value: an overlay may lie there."""
    if form.stored == form.allocated:
        return values
    kept = values.astype(np.int64) & ((1 << form.stored) - 1)
    if form.signed:
        sign = 1 << (form.stored - 1)
        kept = (kept ^ sign) - sign
    return kept


def _range(values: Values) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _scaled(values: Values, low: float, high: float) -> Picture:
    span = max(high - low, 1e-9)
    return ((values.astype(np.float32) - low) * (FULL / span)).clip(0, FULL).astype(np.uint8)


def _grey(picture: Picture) -> Picture:
    return np.repeat(picture[:, :, np.newaxis], 3, axis=2)
