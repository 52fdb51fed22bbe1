"""The synthetic twin: a DICOM folder with the shape of the federation's data and nobody's images.

images/0001/0001.dcm ...    one folder for each patient; broken ones among them
images/0001/reference.dcm   where a lesion is, on demand
labels.csv                  as `radfed gateway labels import` takes it
twin.json                   the seed, what each series is, and how it is broken
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from deploy.vendor.images import Mask, a_series
from deploy.vendor.reference import write_reference
from deploy.vendor.shapes import Broken, Geometry, SeriesShape, Shape
from gateway.errors import ConfigurationFault

IMAGES, LABELS, ABOUT = "images", "labels.csv", "twin.json"
REFERENCE = "reference.dcm"
COLUMNS = ("SeriesInstanceUID", "label", "value", "reader", "adjudicated")
SMALL = 8  # a matrix is made this much smaller, with pixels that much larger, unless it is whole


@dataclass(frozen=True, slots=True)
class Twin:
    directory: Path
    patients: int
    files: int
    series: tuple[dict[str, Any], ...]

    def summary(self) -> dict[str, Any]:
        kinds: dict[str, int] = {}
        for one in self.series:
            kinds[one["modality"]] = kinds.get(one["modality"], 0) + 1
        return {
            "directory": str(self.directory),
            "patients": self.patients,
            "files": self.files,
            "series": dict(sorted(kinds.items())),
            "with_finding": sum(one["finding"] for one in self.series),
            "broken": sum(bool(one["broken"]) for one in self.series),
            "labels": str(self.directory / LABELS),
        }


def make_twin(
    directory: Path,
    shape: Shape,
    patients: int,
    seed: int,
    label: str,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    whole: bool = False,
    drawn_too: bool = False,
) -> Twin:
    """Draw a twin into a new or empty directory; the same seed and shape give the same bytes.

    `drawn_too` adds a segmentation of every lesion, for jobs that say where findings are.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationFault(f"{directory} is not an empty directory: name another")
    (directory / IMAGES).mkdir(parents=True)
    drawn, rows, files = [], list[tuple[str, ...]](), 0
    for number in range(1, patients + 1):
        rng = np.random.default_rng([seed, number])  # a patient is the same in a larger twin
        about, images, where = _one(rng, shape, number, whole=whole)
        folder = directory / IMAGES / f"{number:04d}"
        folder.mkdir()
        if drawn_too and where.any() and about["modality"] != "DX":
            apart = np.random.default_rng([seed, number, 1])  # images stay what they are without
            write_reference(apart, images, where, label, folder / REFERENCE)
            files += 1
        files += _write(rng, images, folder, about)
        rows += _readings(rng, shape, about, label)
        drawn.append(about)
        progress(number, patients)
    with (directory / LABELS).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    twin = Twin(directory, patients, files, tuple(drawn))
    text = json.dumps({"seed": seed, "label": label, "series": drawn}, indent=1)
    (directory / ABOUT).write_text(text + "\n", "utf-8")
    return twin


def _one(
    rng: np.random.Generator, shape: Shape, number: int, *, whole: bool
) -> tuple[dict[str, Any], list[Dataset], Mask]:
    kind = _drawn_kind(rng, shape)
    finding = bool(rng.random() < shape.labels.prevalence)
    broken = _way(rng, shape, kind)
    images, where = a_series(rng, kind, _size(rng, kind, whole=whole), lesion=finding)
    missing = [
        keyword for keyword, share in shape.missing.model_dump().items() if rng.random() < share
    ]
    for image in images:
        for keyword in missing:
            _take_out(image, keyword)
    about = {
        "patient": f"{number:04d}",
        "series_uid": str(images[0].SeriesInstanceUID),
        "modality": kind.modality,
        "finding": finding,
        "missing": missing,
        "broken": broken,
    }
    return about, images, where


def _drawn_kind(rng: np.random.Generator, shape: Shape) -> SeriesShape:
    shares = np.array([kind.share for kind in shape.series])
    if shares.sum() <= 0:
        raise ConfigurationFault("the shares of the series come to nothing: give one a share")
    return shape.series[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _way(rng: np.random.Generator, shape: Shape, kind: SeriesShape) -> str:
    """Draw how a series is broken; empty where it is not. A projection has no place to lose."""
    is_broken, way = rng.random() < shape.broken.share, str(rng.choice(shape.broken.ways))
    needs_slices = way in (Broken.NO_POSITION, Broken.TWO_MATRICES)
    return way if is_broken and not (needs_slices and kind.modality == "DX") else ""


def _size(rng: np.random.Generator, kind: SeriesShape, *, whole: bool) -> Geometry:
    side = kind.matrix if whole else max(32, kind.matrix // SMALL)
    slices = int(rng.integers(kind.slices[0], kind.slices[1] + 1))
    thickness = float(rng.choice(kind.thickness_mm))
    return Geometry(side, slices, kind.field_mm / side, thickness)


def _take_out(image: Dataset, keyword: str) -> None:
    """Leave an attribute empty where its IOD demands it be there (type 2), else leave it out."""
    if keyword in ("PatientSex", "Manufacturer") or (
        keyword == "SliceThickness" and keyword in image
    ):
        setattr(image, keyword, "")
    elif keyword in image:
        delattr(image, keyword)
    if keyword == "BodyPartExamined" and image.Modality != "DX":
        image.Laterality = ""  # type 2C: which side, where no part says that it has none


def _write(
    rng: np.random.Generator, images: list[Dataset], folder: Path, about: dict[str, Any]
) -> int:
    if about["broken"] == Broken.NO_POSITION:
        for image in images:
            del image.ImagePositionPatient
    if about["broken"] == Broken.TWO_MATRICES and len(images) > 1:
        odd = images[-1]
        odd.Rows = odd.Rows // 2
        odd.PixelData = odd.PixelData[: len(odd.PixelData) // 2]
    for number, image in enumerate(images, start=1):
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    spoilt = folder / f"{int(rng.integers(1, len(images) + 1)):04d}.dcm"
    if about["broken"] == Broken.CUT_SHORT:
        spoilt.write_bytes(spoilt.read_bytes()[:-1000])
    elif about["broken"] == Broken.EMPTY_FILE:
        spoilt.write_bytes(b"")
    elif about["broken"] == Broken.NO_DICOM:
        spoilt.write_text("this is not an image\n", "utf-8")
    return len(images)


def _readings(
    rng: np.random.Generator, shape: Shape, about: dict[str, Any], label: str
) -> Iterator[tuple[str, ...]]:
    """Yield what readers say of a series, and what the board does where they differ."""
    unlabelled, differ = rng.random(2) < (shape.labels.unlabelled, shape.labels.disagree)
    truth, other = ("POSITIVE", "NEGATIVE") if about["finding"] else ("NEGATIVE", "POSITIVE")
    if unlabelled:
        return
    for reader in range(1, shape.labels.readers + 1):
        wrong = differ and reader == shape.labels.readers and shape.labels.readers > 1
        yield about["series_uid"], label, other if wrong else truth, f"reader{reader}", "no"
    if differ:
        yield about["series_uid"], label, truth, "board", "yes"
