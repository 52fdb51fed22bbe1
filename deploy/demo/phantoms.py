"""Generated multi-slice CT phantoms, labelled synthetic in every header, some with a lesion.

Three hospitals differ as hospitals do: scanner, noise, slice thickness, prevalence, ages, and the
kind of lesion they mostly see. What one of them can learn alone is not what the others need.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIDE = 64  # rows and columns
SPACING_MM = 5.0
WATER, TISSUE, AIR = 0.0, 50.0, -1000.0  # Hounsfield units
INTERCEPT = -1024
LABEL = "lesion"  # the name under which the hospitals' readers filed their findings

Volume = NDArray[np.float64]


class LesionKind(StrEnum):
    ENHANCING = "enhancing"  # brighter than the tissue around it
    CYSTIC = "cystic"  # darker


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """What makes one hospital's phantoms its own."""

    site: str
    model: str
    noise_hu: float
    slice_thickness_mm: float
    slices: int
    prevalence: float
    enhancing: float  # the share of enhancing lesions among all
    contrast_hu: float
    median_age: int
    female: float


SITES = (
    SiteProfile("anlan", "PHANTOM 16", 14.0, 5.0, 3, 0.42, 1.0, 13.0, 63, 0.42),
    SiteProfile("beihe", "PHANTOM 64", 20.0, 3.0, 3, 0.55, 0.0, 17.5, 51, 0.55),
    SiteProfile("chengxi", "PHANTOM 256", 26.0, 2.5, 3, 0.46, 0.5, 22.0, 45, 0.50),
)
PATIENTS_PER_SITE = 120


def make_cohort(
    seed: int, profile: SiteProfile, patients: int = PATIENTS_PER_SITE
) -> Iterator[tuple[list[Dataset], bool]]:
    """Yield one study for each patient, and whether it has a lesion; the same for the same seed."""
    rng = np.random.default_rng([seed, *profile.site.encode()])
    with_lesion = round(patients * profile.prevalence)
    truth = rng.permutation(np.arange(patients) < with_lesion)
    for lesion in truth:
        yield make_study(rng, profile, lesion=bool(lesion)), bool(lesion)


def make_study(rng: np.random.Generator, profile: SiteProfile, *, lesion: bool) -> list[Dataset]:
    """Return one patient's study: an axial CT series, one instance for each slice."""
    volume = _volume(rng, profile, lesion=lesion)
    common = _common(rng, profile)
    return [_slice(rng, common, profile, number, volume[number]) for number in range(len(volume))]


def _volume(rng: np.random.Generator, profile: SiteProfile, *, lesion: bool) -> Volume:
    """Draw a body, its organs' unevenness, perhaps one lesion, and the scanner's noise."""
    z, y, x = np.mgrid[0 : profile.slices, 0:SIDE, 0:SIDE].astype(float)
    middle = (SIDE - 1) / 2
    half = np.array([rng.uniform(20, 23), rng.uniform(24, 28)])
    body = ((y - middle) / half[0]) ** 2 + ((x - middle) / half[1]) ** 2 <= 1
    volume = np.where(body, TISSUE + rng.normal(0, 6), AIR)
    if lesion:
        volume += _lesion(rng, profile, (z, y, x), half)
    return volume + rng.normal(0, profile.noise_hu, volume.shape)


def _lesion(
    rng: np.random.Generator,
    profile: SiteProfile,
    grid: tuple[Volume, Volume, Volume],
    half: NDArray[np.float64],
) -> Volume:
    """Return what a soft-edged lesion adds, somewhere inside."""
    z, y, x = grid
    enhancing = rng.random() < profile.enhancing
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.6)
    centre_y = (SIDE - 1) / 2 + half[0] * reach * np.sin(angle)
    centre_x = (SIDE - 1) / 2 + half[1] * reach * np.cos(angle)
    centre_z = rng.uniform(1, profile.slices - 2)
    radius = rng.uniform(3.0, 5.0)
    distance = np.sqrt((y - centre_y) ** 2 + (x - centre_x) ** 2 + (2 * (z - centre_z)) ** 2)
    height = profile.contrast_hu * rng.uniform(0.85, 1.15) * (1 if enhancing else -1)
    return np.asarray(height / (1 + np.exp((distance - radius) * 2.0)))


def _common(rng: np.random.Generator, profile: SiteProfile) -> Dataset:
    """Return the attributes that all slices of one study share (PS3.3 A.3, CT Image IOD)."""
    serial = f"{rng.integers(16**8):08X}"
    taken = date(2021, 1, 4) + timedelta(days=int(rng.integers(0, 1700)))
    age = int(np.clip(rng.normal(profile.median_age, 13), 19, 94))
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "SYNTHETIC"]
    header.SOPClassUID = CTImageStorage
    header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = (
        taken.strftime("%Y%m%d")
    )
    header.StudyTime = header.SeriesTime = header.AcquisitionTime = header.ContentTime = "100000"
    header.AccessionNumber = f"PH{serial}"
    header.Modality = "CT"
    header.Manufacturer = "SYNTHETIC"
    header.ManufacturerModelName = profile.model
    header.InstitutionName = f"SYNTHETIC HOSPITAL {profile.site.upper()}"
    header.ReferringPhysicianName = "SYNTHETIC^READER"
    header.StudyDescription = header.SeriesDescription = "SYNTHETIC PHANTOM"
    header.PatientName = f"SYNTHETIC^PHANTOM{serial}"
    header.PatientID = f"PHANTOM-{serial}"
    header.PatientBirthDate = f"{taken.year - age}0101"
    header.PatientSex = "F" if rng.random() < profile.female else "M"
    header.PatientAge = f"{age:03d}Y"
    header.PatientComments = "SYNTHETIC: generated by code, no patient exists"
    header.BodyPartExamined = "ABDOMEN"
    header.KVP = "120"
    header.SliceThickness = f"{profile.slice_thickness_mm:g}"
    header.PatientPosition = "HFS"
    header.StudyInstanceUID, header.SeriesInstanceUID = _uid(rng), _uid(rng)
    header.FrameOfReferenceUID = _uid(rng)
    header.StudyID, header.SeriesNumber, header.AcquisitionNumber = "1", "1", "1"
    header.PositionReferenceIndicator = ""
    return header


def _slice(
    rng: np.random.Generator, common: Dataset, profile: SiteProfile, number: int, hounsfield: Volume
) -> Dataset:
    """Return one instance with its pixels (PS3.3 C.8.2.1, CT Image Module)."""
    image = Dataset()
    image.update(common)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPInstanceUID = _uid(rng)
    image.InstanceNumber = str(number + 1)
    depth = number * profile.slice_thickness_mm
    image.ImagePositionPatient = [-160.0, -160.0, depth]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.SliceLocation = f"{depth:g}"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = SIDE
    image.PixelSpacing = [SPACING_MM, SPACING_MM]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth = "50", "350"
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = str(INTERCEPT), "1", "HU"
    image.BurnedInAnnotation = "NO"
    stored = np.clip(np.rint(hounsfield - INTERCEPT), 0, 4095).astype("<u2")
    image.PixelData = stored.tobytes()
    return image


def _uid(rng: np.random.Generator) -> str:
    """Return a UUID-derived UID (PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(rng.bytes(16), 'big')}"
