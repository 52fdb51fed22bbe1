"""Generated studies to push: invented patients, noise for pixels, real headers around them."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

SERIES_PER_STUDY = 2
STUDIES = 4
# Each stands in a template once per reference and is overwritten in place: same length, new UID.
INSTANCE = "2.25.100000000000000000000000000000000000001"
SERIES = "2.25.200000000000000000000000000000000000002"
STUDY = "2.25.300000000000000000000000000000000000003"
DIGITS = len(INSTANCE) - len("2.25.1")


@dataclass(frozen=True, slots=True)
class Slot:
    offset: int
    uid: str


@dataclass(slots=True)
class ImageSet:
    """Files on disk whose UIDs can be renewed in place, so that no push repeats another."""

    name: str
    files: list[Path]
    slots: list[list[Slot]]
    size: int = 0

    def renew(self, serial: int) -> None:
        per_series = max(1, len(self.files) // (STUDIES * SERIES_PER_STUDY))
        for number, (path, slots) in enumerate(zip(self.files, self.slots, strict=True)):
            numbers = {
                INSTANCE: number,
                SERIES: number // per_series,
                STUDY: number // (per_series * SERIES_PER_STUDY),
            }
            with path.open("r+b") as file:
                for slot in slots:
                    file.seek(slot.offset)
                    digits = f"{serial * 100_000 + numbers[slot.uid]:0{DIGITS}}"
                    file.write((slot.uid[: len("2.25.1")] + digits).encode("ascii"))


def make(name: str, count: int, directory: Path) -> ImageSet:
    """Write `count` files of a kind: ct, mr, dx, sr, mf."""
    directory.mkdir(parents=True)
    made = ImageSet(name, [], [])
    encoded: dict[int, tuple[bytes, list[Slot]]] = {}
    for number in range(count):
        variant = number % 5 if name == "dx" else 0
        if variant not in encoded:
            raw = _encode(TEMPLATES[name](variant))
            encoded[variant] = raw, _slots(raw)
        raw, slots = encoded[variant]
        path = directory / f"{number:05}.dcm"
        path.write_bytes(raw)
        made.files.append(path)
        made.slots.append(slots)
        made.size += len(raw)
    return made


def _slots(raw: bytes) -> list[Slot]:
    found = []
    for uid in (INSTANCE, SERIES, STUDY):
        at = raw.find(uid.encode("ascii"))
        while at >= 0:
            found.append(Slot(at, uid))
            at = raw.find(uid.encode("ascii"), at + 1)
    return found


def _encode(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _header(sop_class: str, modality: str) -> Dataset:
    """Return what a scanner writes around its pixels; the patient is invented."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = INSTANCE
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = SERIES
    dataset.FrameOfReferenceUID = SERIES + ".1"
    dataset.PatientName = "Bench^Invented"
    dataset.PatientID = "BENCH-0001"
    dataset.PatientBirthDate = "19600229"
    dataset.PatientSex = "F"
    dataset.PatientAge = "059Y"
    dataset.PatientWeight = "61"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20190312"
    dataset.AcquisitionDate = "20190312"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101112"
    dataset.AcquisitionTime = "101112"
    dataset.AccessionNumber = "A20190001"
    dataset.StudyID = "1"
    dataset.Modality = modality
    dataset.Manufacturer = "RADFED BENCH"
    dataset.ManufacturerModelName = "Generated"
    dataset.InstitutionName = "Invented Hospital"
    dataset.ReferringPhysicianName = "Nobody^At^All"
    dataset.OperatorsName = "Someone^Else"
    dataset.StationName = "BENCH1"
    dataset.DeviceSerialNumber = "000001"
    dataset.SoftwareVersions = "1.0"
    dataset.StudyDescription = "Generated study"
    dataset.SeriesDescription = "Generated series"
    dataset.ProtocolName = "Generated"
    dataset.BodyPartExamined = "CHEST"
    dataset.SeriesNumber = 2
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = 1
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class
    reference.ReferencedSOPInstanceUID = SERIES + ".2"
    dataset.ReferencedImageSequence = Sequence([reference])
    request = Dataset()
    request.ScheduledProcedureStepID = "S1"
    request.RequestedProcedureID = "R1"
    request.ScheduledProcedureStepDescription = "Generated"
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.PerformedProcedureStepStartDate = "20190312"
    dataset.PerformedProcedureStepID = "P1"
    return dataset


def _add_private(dataset: Dataset, size: int) -> None:
    """Add what vendors add: elements of their own, one of them large."""
    block = dataset.private_block(0x0029, "RADFED BENCH", create=True)
    for element in range(20):
        block.add_new(element, "LO", f"private value {element}")
    block.add_new(0x40, "OB", bytes(size))


def _add_pixels(dataset: Dataset, rows: int, columns: int, frames: int = 1) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    noise = np.random.default_rng(1).integers(0, 4096, rows * columns * frames, np.uint16)
    dataset.PixelData = noise.tobytes()
    dataset["PixelData"].VR = "OW"


def _add_plane(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = ["-180.5", "-180.5", "12.25"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.PixelSpacing = ["0.703125", "0.703125"]
    dataset.SliceThickness = "1.25"
    dataset.SliceLocation = "12.25"
    dataset.PatientPosition = "HFS"


def _ct(_variant: int) -> Dataset:
    dataset = _header(CTImageStorage, "CT")
    _add_plane(dataset)
    dataset.KVP, dataset.XRayTubeCurrent, dataset.Exposure = "120", "200", "100"
    dataset.ConvolutionKernel = "STANDARD"
    dataset.GantryDetectorTilt = "0"
    dataset.ReconstructionDiameter = "360"
    _add_private(dataset, 4000)
    _add_pixels(dataset, 512, 512)
    return dataset


def _mr(_variant: int) -> Dataset:
    dataset = _header(MRImageStorage, "MR")
    _add_plane(dataset)
    dataset.ScanningSequence, dataset.SequenceVariant = "SE", "SK"
    dataset.ScanOptions, dataset.MRAcquisitionType = "", "2D"
    dataset.RepetitionTime, dataset.EchoTime = "500", "12"
    dataset.MagneticFieldStrength = "1.5"
    _add_private(dataset, 10_000)
    _add_pixels(dataset, 256, 256)
    return dataset


def _dx(variant: int) -> Dataset:
    dataset = _header(DigitalXRayImageStorageForPresentation, "DX")
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.BurnedInAnnotation = "NO"
    dataset.ViewPosition, dataset.ImageLaterality = "PA", "U"
    dataset.KVP, dataset.PixelSpacing = "120", ["0.14", "0.14"]
    _add_private(dataset, 2000)
    side = (2000, 2200, 2400, 2600, 2800)[variant]  # 8 to 16 MB
    _add_pixels(dataset, side, side)
    return dataset


def _sr(_variant: int) -> Dataset:
    dataset = _header(ComprehensiveSRStorage, "SR")
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = _code("126000", "Imaging Measurement Report")
    dataset.ContentSequence = Sequence([_measurement(number) for number in range(38)])
    return dataset


def _code(value: str, meaning: str) -> Sequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return Sequence([code])


def _measurement(number: int) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "NUM"
    item.ConceptNameCodeSequence = _code("121206", "Distance")
    value = Dataset()
    value.NumericValue = f"{number}.5"
    value.MeasurementUnitsCodeSequence = _code("mm", "millimetre")
    item.MeasuredValueSequence = Sequence([value])
    return item


def _mf(_variant: int) -> Dataset:
    dataset = _enhanced(frames=12)
    _add_pixels(dataset, 512, 512, 12)
    return dataset


def _enhanced(frames: int) -> Dataset:
    dataset = _header(EnhancedCTImageStorage, "CT")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.BurnedInAnnotation = "NO"
    dataset.NumberOfFrames = frames
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["0.7", "0.7"], "1.25"
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_frame(n) for n in range(frames)])
    return dataset


def _frame(number: int) -> Dataset:
    groups, content, place = Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber = "1", number + 1
    content.DimensionIndexValues = [1, number + 1]
    place.ImagePositionPatient = ["-180.5", "-180.5", f"{number * 1.25}"]
    groups.FrameContentSequence = Sequence([content])
    groups.PlanePositionSequence = Sequence([place])
    return groups


TEMPLATES = {"ct": _ct, "mr": _mr, "dx": _dx, "sr": _sr, "mf": _mf}
