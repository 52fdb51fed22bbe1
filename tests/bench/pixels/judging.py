"""Says whether a drawn line can still be read, by two readers, and what changed far from it."""

import shutil
import subprocess
from difflib import SequenceMatcher
from io import BytesIO

import numpy as np
from PIL import Image

from gateway.deid.pixel_frames import Box
from gateway.line.text_reader import TextReader

LEGIBLE = 0.6  # of its signs, in order
FAR = 20
AROUND = 6


def share(text: str, read: str) -> float:
    """Return how much of a text was read, in order."""
    wanted, got = ("".join(one.split()).lower() for one in (text, read))
    blocks = SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(1, len(wanted))


class Judge:
    def __init__(self) -> None:
        self._reader = TextReader()
        self.tesseract = shutil.which("tesseract")

    def is_legible(self, text: str, box: Box, pictures: list) -> bool:
        return any(self._reads(text, box, picture) for picture in pictures)

    def _reads(self, text: str, box: Box, picture) -> bool:
        around = box.widened(AROUND, *picture.shape[:2])
        crop = Image.fromarray(picture[around.top : around.bottom, around.left : around.right])
        if np.ptp(np.asarray(crop)) == 0:
            return False
        line = np.asarray(crop.resize((max(8, crop.width * 48 // crop.height), 48), Image.BICUBIC))
        read = self._reader._recognise(self._reader._question(img=[line], return_word_box=False))
        if share(text, read.txts[0]) >= LEGIBLE:
            return True
        found = self._reader.read(np.asarray(crop), closely=False)
        words = " ".join(r.text for r in sorted(found, key=lambda r: r.box.left))
        return share(text, words) >= LEGIBLE or share(text, self._by_tesseract(crop)) >= LEGIBLE

    def _by_tesseract(self, crop) -> str:
        if self.tesseract is None:
            return ""
        stream = BytesIO()
        crop.resize((crop.width * 3, crop.height * 3), Image.BICUBIC).save(stream, "PNG")
        language = "eng+chi_sim"
        command = [self.tesseract, "-", "-", "--psm", "7", "-l", language]
        done = subprocess.run(command, input=stream.getvalue(), capture_output=True, check=False)
        return done.stdout.decode("utf-8", "replace")


def changed_far(before, after, boxes: list[Box]) -> str:
    """Say where values changed outside the boxes and a margin, if any; shapes must be the same."""
    if before.shape != after.shape:
        return "the shape"
    differs = before != after
    if differs.ndim == 4:
        differs = differs.any(axis=3)
    differs = differs.any(axis=0)
    for box in boxes:
        wide = box.widened(FAR, *differs.shape)
        differs[wide.top : wide.bottom, wide.left : wide.right] = False
    if not differs.any():
        return ""
    rows, columns = np.nonzero(differs)
    return (
        f"{len(rows)} pixels in columns {columns.min()}..{columns.max()}, "
        f"rows {rows.min()}..{rows.max()}"
    )
