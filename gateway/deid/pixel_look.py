"""The look at an image: its frames are read, text is blanked, and they are read once more.

Nobody's eyes are needed where it ends well. Where a doubt remains, it says which.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gateway.deid.pixel_frames import Box, Frames, Values
from gateway.deid.pixel_rules import Corners
from gateway.deid.pixel_text import MARGIN, Reading, is_text, may_be_text, written
from gateway.deid.pixel_views import Picture, strokes, views

ROUNDS = 3  # blanking may bare what stood beside; then something is wrong
CLOSELY = 3  # frames that are read at both sizes; a banner stands still
CHANGED, CHANGED_PIXELS = 24, 60  # of 255, and how many pixels: fewer write no word
HIDDEN = 0.5  # of a doubtful box: then it was blanked with its neighbours
MOST_BLANKED = 0.6  # of the area: past it, this is no image with text but a page


class Reader(Protocol):
    """Finds what looks written in a picture."""

    def read(self, picture: Picture, *, closely: bool) -> list[Reading]: ...


class Doubt(Exception):
    """Why an operator must look; a sentence that names nobody."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How a look ended well: what was blanked, in every frame; nothing, where no text was."""

    boxes: tuple[Box, ...]


class Look:
    """One look at one image."""

    def __init__(self, frames: Frames, reader: Reader, out_of_time: Callable[[], bool]) -> None:
        self._frames = frames
        self._reader = reader
        self._out_of_time = out_of_time
        form = frames.form
        step = max(1, (form.frames - 1) // (CLOSELY - 1))
        self._close = sorted({0, form.frames - 1, min(step, form.frames - 1)})

    def clean(self, known: Sequence[Corners]) -> Looked:
        """Blank the known regions and all text; Doubt where some may be left."""
        form = self._frames.form
        boxes = [Box(*corners) for corners in known]
        for box in boxes:
            self._frames.blank(box)
        doubtful: list[Box] = []
        text = self._text(range(form.frames), doubtful, closely=False)
        text += self._text(self._close, doubtful, closely=True)
        boxes += self._blanked(text)
        for _ in range(ROUNDS):  # what is found depends on what else is there: look again
            text = self._text(self._close, doubtful, closely=True, faint=True)
            if not text:
                break
            boxes += self._blanked(text)
        else:
            raise Doubt("text is left in its pixels after blanking")
        left = _covered(boxes, form.rows, form.columns)
        if left.mean() > MOST_BLANKED:
            raise Doubt("most of its pixels are text")
        if any(left[b.top : b.bottom, b.left : b.right].mean() < HIDDEN for b in doubtful):
            raise Doubt("its pixels may hold text that cannot be read for sure")
        return Looked(tuple(boxes))

    def _blanked(self, text: list[Box]) -> list[Box]:
        form = self._frames.form
        boxes = [found.widened(MARGIN, form.rows, form.columns) for found in text]
        for box in boxes:
            self._frames.blank(box)
        return boxes

    def _text(
        self, frames: Iterable[int], doubtful: list[Box], *, closely: bool, faint: bool = False
    ) -> list[Box]:
        """Read those frames that show something new; return what is text, add what may be."""
        boxes: list[Box] = []
        seen: Values | None = None
        for number in frames:
            values = self._frames.frame(number)
            pictures = views(values, self._frames.form, self._frames.photometric, self._frames.lut)
            if seen is not None and _says_nothing_new(pictures[-1], seen):
                continue
            seen = pictures[-1]
            if faint:
                pictures.append(strokes(seen))
            readings = list(self._read(pictures, closely=closely))
            boxes += [box for box in written(readings) if box not in boxes]
            doubtful += [r.box for r in readings if may_be_text(r) and not is_text(r)]
        return boxes

    def _read(self, pictures: Iterable[Picture], *, closely: bool) -> Iterable[Reading]:
        for picture in pictures:
            if self._out_of_time():
                raise Doubt("looking at all of its frames takes longer than `seconds_at_most`")
            yield from self._reader.read(picture, closely=closely)


def _says_nothing_new(picture: Picture, seen: Values) -> bool:
    other = np.abs(picture.astype(np.int16) - seen.astype(np.int16)).max(axis=2)
    return int(np.count_nonzero(other > CHANGED)) < CHANGED_PIXELS


def _covered(boxes: Iterable[Box], rows: int, columns: int) -> Values:
    blanked = np.zeros((rows, columns), bool)
    for box in boxes:
        blanked[box.top : box.bottom, box.left : box.right] = True
    return blanked
