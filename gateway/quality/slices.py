"""What quality is judged by: the geometry and the tags of one instance."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Protocol

TAGS: Final = (
    "SOPClassUID", "Modality", "BodyPartExamined", "PatientSex", "PatientAge", "Rows", "Columns",
    "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "ImageType",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "KVP", "ConvolutionKernel", "FrameOfReferenceUID", "InstanceNumber", "AcquisitionNumber",
)  # fmt: skip


class Header(Protocol):
    """One instance's values by keyword: a pydicom Dataset, or what a quicker reader found."""

    def get(self, keyword: str, /) -> Any: ...  # noqa: ANN401 - whatever a header holds


@dataclass(frozen=True, slots=True)
class Slice:
    """One instance as the rules see it; absent or unreadable numbers are None."""

    modality: str
    rows: int | None
    columns: int | None
    frames: int
    pixel_spacing: tuple[float, ...] | None
    thickness: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    rescaled: bool
    localizer: bool
    frame_of_reference: str
    has_body_part: bool
    has_kernel: bool


def slice_of(dataset: Header) -> Slice:
    """Read one instance's facts (PS3.3 C.7.6.2, C.8.2.1)."""
    return Slice(
        modality=str(dataset.get("Modality") or ""),
        rows=_count(dataset.get("Rows")),
        columns=_count(dataset.get("Columns")),
        frames=_count(dataset.get("NumberOfFrames")) or 1,
        pixel_spacing=_numbers(dataset.get("PixelSpacing"), 2),
        thickness=_number(dataset.get("SliceThickness")),
        position=_numbers(dataset.get("ImagePositionPatient"), 3),
        orientation=_numbers(dataset.get("ImageOrientationPatient"), 6),
        rescaled=_number(dataset.get("RescaleSlope")) not in {None, 0.0}
        and _number(dataset.get("RescaleIntercept")) is not None,
        localizer="LOCALIZER" in list(dataset.get("ImageType") or ()),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        has_body_part=bool(dataset.get("BodyPartExamined")),
        has_kernel=bool(dataset.get("ConvolutionKernel")),
    )


def _numbers(value: Sequence[object] | None, wanted: int) -> tuple[float, ...] | None:
    if value is None or isinstance(value, str) or not hasattr(value, "__len__"):
        return None
    numbers = [_number(part) for part in value]
    found = tuple(number for number in numbers if number is not None)
    return found if len(found) == len(numbers) == wanted else None


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if isfinite(number) else None


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
