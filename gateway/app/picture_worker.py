"""The process behind `picture_room`: stored files in, PNG or explained headers out."""

import json
import os
import resource
import sys
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.app.process import die_with_parent
from gateway.app.showing import values
from gateway.deid.explaining import explain
from gateway.deid.profile import Profile, load_profile
from gateway.deid.tables import Sources

SMALL, LARGE = 160, 1024  # pixels of the longer side
MOST_PIXELS = 64 << 20
PERCENTILES = (1, 99)
HEAD_BYTES = 8
POLITE = 5
Picture = NDArray[Any]


def work(arguments: Sequence[str]) -> None:
    """Answer until the pipe ends: apart, bounded, silent."""
    parent, memory = int(arguments[0]), int(arguments[1])
    die_with_parent(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    os.nice(POLITE)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stdout.fileno())  # decoders print what they please
    for line in sys.stdin.buffer:
        try:
            answer = _answer(json.loads(line))
        except Exception:  # noqa: BLE001 - a codec or a damaged file may raise anything
            answer = b""
        answers.write(len(answer).to_bytes(HEAD_BYTES, "big") + answer)
        answers.flush()


def _answer(asked: dict[str, Any]) -> bytes:
    if "profile" in asked:
        table, safe = (Path(name) if name else None for name in asked["tables"])
        return json.dumps(
            header(Path(asked["file"]), _profile(asked["profile"], table, safe))
        ).encode()
    return picture(Path(asked["file"]), int(asked["frame"]), SMALL if asked["small"] else LARGE)


@cache
def _profile(name: str, table: Path | None, safe: Path | None) -> Profile:
    return load_profile(name, Sources(table, safe))


def header(file: Path, profile: Profile) -> list[dict[str, str]]:
    """Pair what a stored header says with the rule that made it so."""
    dataset = dcmread(file, stop_before_pixels=True)
    said = values(dataset)
    return [
        {
            "path": row.path,
            "keyword": row.keyword,
            "value": said.get(row.path, ""),
            "action": str(row.action),
            "rule": row.rule,
            "why": row.why,
        }
        for row in explain(profile, dataset)
        if row.path in said
    ]


def picture(file: Path, frame: int, side: int) -> bytes:
    """Return one frame as PNG, windowed as its header asks (PS3.3 C.11.2), or by its range."""
    from PIL import Image

    dataset = dcmread(file)
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel", 1))
    if not 0 < pixels <= MOST_PIXELS:
        return b""
    image = Image.fromarray(_shown(dataset, frame))
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _shown(dataset: Dataset, frame: int) -> Picture:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array  # type: ignore[attr-defined] # documented there

    many = int(dataset.get("NumberOfFrames") or 1) > 1
    raw = np.asarray(pixel_array(dataset, index=frame if many else None))
    if raw.ndim == 3:  # noqa: PLR2004 - colour: pixel_array has made it RGB
        return raw.astype(np.uint8) if raw.dtype == np.uint8 else _stretched(raw)
    grey = np.asarray(apply_modality_lut(raw, dataset))
    if "WindowWidth" in dataset or "VOILUTSequence" in dataset:
        scaled = _stretched(np.asarray(apply_voi_lut(grey, dataset)), (0, 100))
    else:
        scaled = _stretched(grey)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    return np.asarray(255 - scaled, np.uint8) if inverted else scaled


def _stretched(values: Picture, between: tuple[int, int] = PERCENTILES) -> Picture:
    real = values.astype(np.float32)
    low, high = np.percentile(real, between)
    scaled = np.clip((real - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.asarray(scaled, np.uint8)
