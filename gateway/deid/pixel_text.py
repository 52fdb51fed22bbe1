"""What a reader of pictures saw: which of it is text, which may be, and what is blanked for it.

The limits were chosen by measurement: docs/adr/0091-how-text-is-looked-for.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.deid.pixel_frames import Box

FOUND, READ = 0.3, 0.5  # that something is written there; that it was read right
TOGETHER = 1.1  # the sum: of faint text one of the two is sure
SURELY_FOUND, SURELY_READ, HALF_READ = 0.5, 0.9, 0.3
UPRIGHT = 1.5  # times its width: then the reader turns it on its side
TALL = 0.2  # of the picture: organs and fields of view are, lines of text are not
DISTINCT = 2  # a name or a number has two different signs; a ring, a vessel or a grid has one
ROUND = str.maketrans("OoDQUuCcGØ〇口回□○日曰", "0" * 17)  # what rings and cells are taken for
STROKES = str.maketrans("Il|1!iLTJ一丨二三工王士土卜十", "1" * 19)  # and what lines are
MARGIN = 4  # pixels around a box: strokes reach out of it
WITHIN = 0.8
LONGEST = 4  # heights: what continues a line is a sign or two
NEAR = 1.0  # of its own height: a sign beside text is text, too


@dataclass(frozen=True, slots=True)
class Reading:
    """One place that looks written, what it reads, and how sure of each the reader is."""

    box: Box
    text: str
    found: float
    read: float
    share: float  # its height, of the picture's

    @property
    def stands(self) -> bool:
        """Say whether it runs from top to bottom: rings and edges do, text seldom."""
        height, width = self.box.bottom - self.box.top, self.box.right - self.box.left
        return height > UPRIGHT * width

    @property
    def signs(self) -> str:
        return "".join(sign for sign in self.text if sign.isalnum())


def is_text(reading: Reading) -> bool:
    """Tell text from what only looks like it: anatomy, grids and noise make short, dull words."""
    plain = reading.signs.translate(ROUND).translate(STROKES)
    odd = reading.share > TALL or reading.stands
    sure = reading.read >= (SURELY_READ if odd else READ)
    sure &= reading.found >= FOUND and reading.found + reading.read >= TOGETHER
    return sure and len(set(plain)) >= DISTINCT


def may_be_text(reading: Reading) -> bool:
    """Tell what nobody may release unseen: most of it is not text, but more of it could be."""
    plain = reading.signs.translate(ROUND).translate(STROKES)
    likely = reading.found >= SURELY_FOUND and reading.read >= HALF_READ
    odd = reading.share > TALL or (reading.stands and reading.read < READ)
    return likely and not odd and len(set(plain)) > DISTINCT


def written(readings: Iterable[Reading]) -> list[Box]:
    """Return the boxes of text, and of whatever stands beside text on its line.

    The same words may be found several times, at each size and window: the tightest box is kept.
    """
    readings = sorted(readings, key=lambda reading: reading.box.area)
    sure: list[Reading] = []
    for reading in filter(is_text, readings):
        if not any(_is_within(kept, reading) for kept in sure):
            sure.append(reading)
    boxes = [reading.box for reading in sure]
    unsure = [r for r in readings if not is_text(r) and r.found >= SURELY_FOUND]
    return boxes + [r.box for r in unsure if any(_beside(r.box, box) for box in boxes)]


def _is_within(kept: Reading, reading: Reading) -> bool:
    """Say whether all that a box says is said by a tighter one inside it."""
    inside = kept.box.shared(reading.box) >= WITHIN * kept.box.area
    return inside and len(kept.signs) >= WITHIN * len(reading.signs)


def _beside(one: Box, text: Box) -> bool:
    """Say whether a box continues a line of text, before or after it."""
    height = text.bottom - text.top
    if one.bottom - one.top > 2 * height or one.right - one.left > LONGEST * height:
        return False
    middle = (one.top + one.bottom) / 2
    gap = max(one.left - text.right, text.left - one.right)
    return text.top <= middle <= text.bottom and gap <= NEAR * height
