"""Reads the geometry of a series' files and hands it to the quality rules."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom import dcmread

from gateway.line.glance import glance
from gateway.quality.grade import Grade, Graded, grade
from gateway.quality.slices import TAGS, Header, Slice, slice_of


def grade_of(paths: Sequence[Path]) -> Graded:
    """Grade a series; one that cannot be read is of no use to anybody."""
    try:
        return grade(list(_slices(paths)))
    except OSError:
        raise
    except Exception as fault:  # noqa: BLE001 - pydicom raises many kinds
        return Graded(Grade.D, (f"an instance cannot be read ({type(fault).__name__})",))


def _slices(paths: Iterable[Path]) -> Iterable[Slice]:
    for path in paths:
        try:
            header: Header | None = glance(path)
            if header is None:
                header = dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        except FileNotFoundError:
            continue  # superseded since the index was asked
        yield slice_of(header)
