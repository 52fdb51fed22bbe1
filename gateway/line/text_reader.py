"""Reads text in pictures with rapidocr: the weights are in its wheel, no network is asked."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from gateway.deid.pixel_frames import Box
from gateway.deid.pixel_text import Reading
from gateway.deid.pixel_views import Picture

SMALLEST = 736  # the shorter side of what is read; smaller pictures are enlarged
CLOSER = 1.6  # times that, for the second reading: finds what is 8 pixels high
TILE, OVERLAP = 1344, 160  # larger pictures are read in tiles: memory, and letters as they are
PAD = 24  # of the picture's own border: text at the very edge is missed without
LARGEST_SCALE = 4.0


class TextReader:
    """One pair of models, finding and reading; used by one thread."""

    def __init__(self, threads: int = 1) -> None:
        from rapidocr import RapidOCR
        from rapidocr.ch_ppocr_rec import TextRecInput
        from rapidocr.utils.process_img import get_rotate_crop_image

        engine: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_type": "max",
                "Det.limit_side_len": 2 * TILE,  # sizes are chosen here
                "Det.thresh": 0.2,
                "Det.box_thresh": 0.3,
            }
        )
        self._find: Any = engine._load_det_model()  # noqa: SLF001 - each at its own sizes
        self._recognise: Any = engine._load_rec_model()  # noqa: SLF001 - as above
        self._question: Any = TextRecInput
        self._crop: Any = get_rotate_crop_image

    def read(self, picture: Picture, *, closely: bool) -> list[Reading]:
        """Return every place that looks written; `closely`: larger, which finds small letters."""
        shorter = min(picture.shape[:2])
        scale = min(LARGEST_SCALE, max(1.0, SMALLEST / shorter))
        if closely:
            scale = min(LARGEST_SCALE, scale * CLOSER)
        return list(self._read_at(picture, scale))

    def _read_at(self, picture: Picture, scale: float) -> Iterator[Reading]:
        rows, columns = picture.shape[:2]
        padded = np.pad(picture, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")
        if scale != 1.0:
            size = (round(padded.shape[1] * scale), round(padded.shape[0] * scale))
            resized = Image.fromarray(padded).resize(size, Image.Resampling.BICUBIC)
            padded = np.asarray(resized)
        for top, left, tile in _tiles(padded):
            for corners, text, found, read in self._read_tile(tile):
                xs = (corners[:, 0] + left) / scale - PAD
                ys = (corners[:, 1] + top) / scale - PAD
                box = Box(
                    max(0, int(xs.min())),
                    max(0, int(ys.min())),
                    min(columns, int(np.ceil(xs.max()))),
                    min(rows, int(np.ceil(ys.max()))),
                )
                if box.area:
                    yield Reading(box, text, found, read, (box.bottom - box.top) / rows)

    def _read_tile(self, tile: Picture) -> Iterator[tuple[Any, str, float, float]]:
        seen = self._find(tile)
        if seen.boxes is None or not len(seen.boxes):
            return
        crops = [self._crop(tile, np.array(corners, np.float32)) for corners in seen.boxes]
        read = self._recognise(self._question(img=crops, return_word_box=False))
        for corners, found, text, sure in zip(
            seen.boxes, seen.scores, read.txts, read.scores, strict=True
        ):
            yield np.asarray(corners), str(text), float(found), float(sure)


def _tiles(picture: Picture) -> Iterator[tuple[int, int, Picture]]:
    rows, columns = picture.shape[:2]
    for top, bottom in _spans(rows):
        for left, right in _spans(columns):
            yield top, left, np.ascontiguousarray(picture[top:bottom, left:right])


def _spans(length: int) -> Iterator[tuple[int, int]]:
    """Cut a length into as few overlapping parts as there must be, all about as long."""
    count = max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))
    size = -(-(length + (count - 1) * OVERLAP) // count)
    for number in range(count):
        start = round(number * (length - size) / max(1, count - 1))
        yield start, start + size
