"""What a profile says of pixels, and the regions where a device is known to print."""

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydicom.dataset import Dataset

from gateway.config import Settings
from gateway.deid import elements

Length = Annotated[int, Field(ge=0, le=65535)]
Region = tuple[Length, Length, Length, Length]  # left, top, width, height
Pattern = Annotated[str, StringConstraints(min_length=1)]
Corners = tuple[int, int, int, int]  # left, top, right, bottom; the ends not included


class DeviceRule(Settings):
    """Images of one kind of device, told by `*` and `?` patterns, and what is blanked in them."""

    manufacturer: Pattern
    model: Pattern = "*"
    modality: Pattern = "*"
    image_type: Pattern = "*"
    rows: Annotated[int, Field(ge=1, le=65535)]
    columns: Annotated[int, Field(ge=1, le=65535)]
    regions: Annotated[tuple[Region, ...], Field(min_length=1)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]

    @model_validator(mode="after")
    def _within(self) -> Self:
        for left, top, width, height in self.regions:
            if not (width and height):
                raise ValueError(f"region [{left}, {top}, {width}, {height}] is empty")
            if left + width > self.columns or top + height > self.rows:
                raise ValueError(
                    f"region [{left}, {top}, {width}, {height}] reaches out of "
                    f"{self.columns} columns and {self.rows} rows"
                )
        return self

    def fits(self, device: Mapping[str, str], rows: int, columns: int) -> bool:
        return (rows, columns) == (self.rows, self.columns) and all(
            fnmatchcase(device[name], getattr(self, name).upper()) for name in device
        )

    @property
    def corners(self) -> list[Corners]:
        return [
            (left, top, left + width, top + height) for left, top, width, height in self.regions
        ]


class PixelSettings(Settings):
    """How far pixels are cleaned, where a profile has `clean_pixel_data`."""

    # Of classes that seldom show a name: those of risk, or every image; that costs a second each.
    look_at: Literal["risky", "all"] = "risky"
    # Screens, scans and reports: to an operator, or cleaned and kept like other images.
    screens: Literal["quarantine", "clean"] = "quarantine"
    # What lies around the regions an ultrasound device calibrated: read, or blanked unread.
    around_ultrasound: Literal["read", "blank"] = "read"
    devices: tuple[DeviceRule, ...] = ()


@cache
def shipped() -> tuple[DeviceRule, ...]:
    text = (resources.files("gateway.deid") / "devices.toml").read_text("utf-8")
    return tuple(DeviceRule.model_validate(rule) for rule in tomllib.loads(text)["devices"])


def known_regions(settings: PixelSettings, dataset: Dataset) -> list[Corners]:
    """Return what is blanked unseen in an image, by the rules of site and product together."""
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    device = {
        "manufacturer": _text(dataset, "Manufacturer"),
        "model": _text(dataset, "ManufacturerModelName"),
        "modality": _text(dataset, "Modality"),
        "image_type": _text(dataset, "ImageType"),
    }
    rules = (*settings.devices, *shipped())
    bands = settings.around_ultrasound == "blank"
    return [
        corners for rule in rules if rule.fits(device, rows, columns) for corners in rule.corners
    ] + (_around_ultrasound(dataset, rows, columns) if bands else [])


def _around_ultrasound(dataset: Dataset, rows: int, columns: int) -> list[Corners]:
    """Return the bands around all regions an ultrasound device calibrated (PS3.3 C.8.5.5).

    Its image is inside them, its banner is outside. A device that names none, or damaged ones, is
    read like any other.
    """
    try:
        items = list(dataset.get("SequenceOfUltrasoundRegions") or ())
        left = min(int(item.RegionLocationMinX0) for item in items)
        top = min(int(item.RegionLocationMinY0) for item in items)
        right = max(int(item.RegionLocationMaxX1) for item in items) + 1
        bottom = max(int(item.RegionLocationMaxY1) for item in items) + 1
    except Exception:  # noqa: BLE001 - none, or damaged in one way or another
        return []
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        return []
    bands = [
        (0, 0, columns, top),
        (0, bottom, columns, rows),
        (0, top, left, bottom),
        (right, top, columns, bottom),
    ]
    return [band for band in bands if band[0] < band[2] and band[1] < band[3]]


def _number(dataset: Dataset, keyword: str) -> int:
    try:
        return int(dataset.get(keyword) or 0)
    except Exception:  # noqa: BLE001 - damaged counts as absent
        return 0


def _text(dataset: Dataset, keyword: str) -> str:
    return elements.spoken(dataset, keyword).strip("\0 ").upper()
