"""A header's values and its picture as a page may show them, whatever is in them."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

LONGEST = 96  # characters of a value
DEEPEST = 16
MOST_VALUES = 4000  # of one header
THUMB = 192  # pixels
MOST_PIXELS = 64 << 20  # of one frame: a slide is not opened for a thumbnail
CANNOT = "(cannot be read)"


def values(dataset: Dataset) -> dict[str, str]:
    """Return every element's value by its path, as short text."""
    found: dict[str, str] = {}
    for path, text in _values(dataset, "", 0):
        found[path] = text
        if len(found) >= MOST_VALUES:
            break
    return found


def _values(dataset: Dataset, path: str, depth: int) -> Iterator[tuple[str, str]]:
    for tag in sorted(dataset.keys()):
        here = f"{path}({tag >> 16:04X},{tag & 0xFFFF:04X})"
        try:
            value = dataset[tag].value
        except Exception:  # noqa: BLE001 - pydicom raises anything
            yield here, CANNOT
            continue
        if isinstance(value, Sequence):
            yield here, f"({len(value)} items)"
            if depth < DEEPEST:
                for number, item in enumerate(value, 1):
                    yield from _values(item, f"{here}[{number}]>", depth + 1)
        else:
            yield here, plain(value)


def plain(value: object) -> str:
    """Return text without what could trick the eye: control and direction marks."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray):
        return f"({len(value)} bytes)"
    many = isinstance(value, list | tuple | MultiValue)
    text = "\\".join(str(one) for one in value) if many else str(value)  # type: ignore[attr-defined] # it has values
    shown = "".join(one if one.isprintable() else "·" for one in text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"


def thumbnail(dataset: Dataset) -> str | None:
    """Return a small PNG of the middle frame as a data URI; None where there is none to see."""
    with suppress(Exception):  # a codec or a damaged file may raise anything: no picture then
        pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel", 1))
        if 0 < pixels <= MOST_PIXELS and "PixelData" in dataset:
            return _png(_middle_frame(dataset))
    return None


def _middle_frame(dataset: Dataset) -> NDArray[Any]:
    from pydicom.pixels import pixel_array  # type: ignore[attr-defined] # documented there

    frames = int(dataset.get("NumberOfFrames") or 1)
    return np.asarray(pixel_array(dataset, index=frames // 2))


def _png(frame: NDArray[Any]) -> str:
    from PIL import Image

    grey = frame.astype(np.float32)
    low, high = np.percentile(grey, (1, 99)) if grey.ndim == 2 else (0, 255)  # noqa: PLR2004
    scaled = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
    image = Image.fromarray(scaled.astype(np.uint8))
    image.thumbnail((THUMB, THUMB))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")
