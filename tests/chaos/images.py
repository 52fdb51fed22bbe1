"""Synthetic instances with pixels of their own, so that no two can be taken for each other."""

import random
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, SecondaryCaptureImageStorage

# Express lane; vault then store, read whole; vault then store, in pieces; vault for good.
CT, DEFLATED, LONG, RISKY = "ct", "deflated", "long", "risky"
LONG_HEADER = 65536  # `header_limit_bytes` has to be this for LONG to be long


def uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.543.{number}"


def image(kind: str, number: int, study: int = 0) -> FileDataset:
    """Return a small image: its number is in its UID, and its pixels are drawn from it."""
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(number)
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = uid(10**9 + study), uid(2 * 10**9 + study)
    dataset.InstanceNumber = str(number)
    dataset.PixelData = random.Random(number).randbytes(len(dataset.PixelData))
    if kind == RISKY:
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    if kind == LONG:
        dataset.add_new(0x00091001, "LO", "radfed")
        dataset.add_new(0x00091010, "OB", bytes(LONG_HEADER))
    if kind == DEFLATED:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return dataset


def write(directory: Path, kind: str, number: int, study: int = 0) -> Path:
    path = directory / f"{kind}-{number}.dcm"
    image(kind, number, study).save_as(path, enforce_file_format=True)
    return path
