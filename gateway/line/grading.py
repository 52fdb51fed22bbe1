"""Reads the geometry of a series' files and hands it to the quality rules."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom import dcmread

from gateway.quality.grade import Graded, grade
from gateway.quality.slices import TAGS, Slice, slice_of


def grade_of(paths: Sequence[Path]) -> Graded:
    return grade(list(_slices(paths)))


def _slices(paths: Iterable[Path]) -> Iterable[Slice]:
    for path in paths:
        try:
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        except FileNotFoundError:
            continue  # superseded since the index was asked
        yield slice_of(dataset)
