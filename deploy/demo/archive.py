"""What stands in each hospital's PACS before the demo begins, and what must never leave it."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from deploy.demo import identities, phantoms

SHORTEST_TRACE = 8  # bytes: what is shorter turns up by chance
IDENTIFYING = (
    "PatientName", "PatientID", "AccessionNumber", "ReferringPhysicianName", "InstitutionName",
    "PatientAddress", "PatientTelephoneNumbers", "OtherPatientIDs", "StudyInstanceUID",
    "SeriesInstanceUID", "SOPInstanceUID",
)  # fmt: skip
DEVICE = ("Manufacturer", "ManufacturerModelName")  # kept: whoever is called so too is nobody


@dataclass(slots=True)
class Archive:
    """The files of one hospital, the texts that identify its patients, and its pixels."""

    directory: Path
    files: int = 0
    real: int = 0
    own: int = 0
    patients: int = 0
    with_lesion: int = 0
    labels: Path = field(default_factory=Path)
    texts: list[str] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    images: dict[str, list[bytes]] = field(default_factory=dict)


def fill(directory: Path, seed: int, profile: phantoms.SiteProfile, own: Sequence[Path]) -> Archive:
    """Write planted real files, the user's own and phantoms below `directory`."""
    archive = Archive(directory / "pacs", labels=directory / "labels.csv")
    archive.directory.mkdir(parents=True)
    for planted in identities.plant_all(f"{seed} {profile.site}"):
        archive.real += 1
        archive.texts += planted.traces
        _put(archive, planted.dataset)
    for path in own:
        _put_own(archive, path)
    rows = []
    for study, lesion in phantoms.make_cohort(seed, profile):
        archive.patients += 1
        archive.with_lesion += lesion
        rows.append((study[0].StudyInstanceUID, "POSITIVE" if lesion else "NEGATIVE"))
        archive.texts += traces_of(study[0])
        for image in study:
            _put(archive, image)
    with archive.labels.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("StudyInstanceUID", "label", "value"))
        table.writerows((uid, phantoms.LABEL, value) for uid, value in rows)
    return archive


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """What was found in the user's own directory: each instance once, and how many are none."""

    instances: tuple[Path, ...] = ()
    left_out: int = 0


def dicom_below(directory: Path) -> OwnFiles:
    """Return the Part 10 files below a directory that a PACS could send."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    found: dict[str, Path] = {}
    for path in paths:
        if uid := _instance_in(path):
            found.setdefault(uid, path)
    return OwnFiles(tuple(found.values()), len(paths) - len(found))


def _instance_in(path: Path) -> str:
    """Return a file's SOP Instance UID, or nothing where it has none or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            uid, syntax = dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID
            list(dataset.iterall())  # an element is decoded when it is looked at
            _keep_pixels(Archive(path), dataset)
    except Exception:  # noqa: BLE001 - pydicom raises what it likes over a damaged file
        return ""
    # Only figures and dots: the UID becomes the name of a file, and odd ones are seen in practice.
    return str(uid) if uid.replace(".", "").isdigit() and syntax.is_transfer_syntax else ""


def traces_of(dataset: Dataset) -> Iterator[str]:
    """Yield the texts of a header that lead to its patient and are too long for an accident."""
    for keyword in IDENTIFYING:
        value = dataset.get(keyword)
        for text in map(str, value if isinstance(value, list | tuple) else [value]):
            for part in {text, *text.split("="), text.replace("^", " ").strip()}:
                if value and _tells(part):
                    yield part


def _tells(text: str) -> bool:
    """Say whether finding a text means anything: `12345678` is also how a colour ramp begins."""
    steps = {ord(right) - ord(left) for left, right in pairwise(text)}
    long_enough = len(text.encode()) >= SHORTEST_TRACE
    return long_enough and len(steps) > 1 and not text.startswith("SYNTHETIC")


def _put_own(archive: Archive, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        archive.own += 1
        archive.texts += traces_of(dataset)
        archive.devices |= {str(dataset.get(keyword, "")) for keyword in DEVICE}
        _keep_pixels(archive, dataset)
    archive.files += 1
    (archive.directory / str(dataset.SOPInstanceUID)).write_bytes(path.read_bytes())


def _put(archive: Archive, dataset: Dataset) -> None:
    archive.files += 1
    (archive.directory / str(dataset.SOPInstanceUID)).write_bytes(identities.encoded(dataset))
    _keep_pixels(archive, dataset)


def _keep_pixels(archive: Archive, dataset: Dataset) -> None:
    """Keep the pixels as sent and, where they were compressed, as seen."""
    if "PixelData" not in dataset:
        return
    forms = [dataset.PixelData]
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        forms = list(
            generate_frames(dataset.PixelData, number_of_frames=dataset.get("NumberOfFrames", 1))
        )
        with suppress(RuntimeError, ValueError, AttributeError):  # there is no codec for it
            forms.append(np.ascontiguousarray(dataset.pixel_array).tobytes())
    archive.images[str(dataset.SOPInstanceUID)] = forms
