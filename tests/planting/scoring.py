"""What is left of an identity in stored files, decoded and raw; what of the rest was destroyed."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from tests.planting.people import Mention, Patient, Secret, fold

CODECS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
READ_AS = ("utf-8", "gb18030", "latin-1", "utf-16-le")
TEXT = frozenset(
    [
        "AE",
        "AS",
        "CS",
        "DA",
        "DS",
        "DT",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "ST",
        "TM",
        "UC",
        "UI",
        "UR",
        "UT",
    ]
)
# What research needs of an image, and no profile takes.
TECHNICAL = frozenset(
    [
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "SamplesPerPixel",
        "NumberOfFrames",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SliceThickness",
        "SliceLocation",
        "SpacingBetweenSlices",
        "PixelAspectRatio",
        "RescaleSlope",
        "RescaleIntercept",
        "WindowCenter",
        "WindowWidth",
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
        "PixelPaddingValue",
        "KVP",
        "ExposureTime",
        "XRayTubeCurrent",
        "Exposure",
        "ExposureInuAs",
        "FilterType",
        "GeneratorPower",
        "FocalSpots",
        "ConvolutionKernel",
        "CTDIvol",
        "TableHeight",
        "RotationDirection",
        "GantryDetectorTilt",
        "DataCollectionDiameter",
        "ReconstructionDiameter",
        "DistanceSourceToDetector",
        "DistanceSourceToPatient",
        "RevolutionTime",
        "SpiralPitchFactor",
        "RepetitionTime",
        "EchoTime",
        "InversionTime",
        "FlipAngle",
        "EchoTrainLength",
        "EchoNumbers",
        "MagneticFieldStrength",
        "NumberOfAverages",
        "ImagingFrequency",
        "ImagedNucleus",
        "PercentSampling",
        "PercentPhaseFieldOfView",
        "PixelBandwidth",
        "ScanningSequence",
        "SequenceVariant",
        "ScanOptions",
        "MRAcquisitionType",
        "SequenceName",
        "AcquisitionMatrix",
        "InPlanePhaseEncodingDirection",
        "SAR",
        "PatientPosition",
        "SeriesNumber",
        "InstanceNumber",
        "AcquisitionNumber",
        "ImageType",
        "Modality",
        "BodyPartExamined",
        "ViewPosition",
        "Laterality",
        "ImageLaterality",
        "FrameTime",
        "FrameReferenceTime",
        "ActualFrameDuration",
        "DecayCorrection",
        "DecayFactor",
        "Units",
        "CountsSource",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "TriggerTime",
        "CineRate",
        "RecommendedDisplayFrameRate",
        "StudyTime",
        "SeriesTime",
        "AcquisitionTime",
        "ContentTime",
        "PatientSex",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "Sensitivity",
        "RescaleType",
        "PresentationLUTShape",
        "PixelIntensityRelationship",
        "PixelIntensityRelationshipSign",
    ]
)
SPEAKING = frozenset(
    [
        "SeriesDescription",
        "ProtocolName",
        "BodyPartExamined",
        "StudyDescription",
        "ManufacturerModelName",
        "RequestedProcedureDescription",
        "PerformedProcedureStepDescription",
        "AcquisitionDeviceProcessingDescription",
        "SequenceName",
        "ConvolutionKernel",
    ]
)


@dataclass(frozen=True)
class Leak:
    where: str
    secret: Secret
    how: str


def decoded(dataset: Dataset, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield place, VR and text of every element, bytes in every reading."""
    for element in dataset:
        here = f"{path}{element.tag}"
        if element.VR == "SQ":
            for item in element.value:
                yield from decoded(item, f"{here}>")
        elif isinstance(element.value, bytes):
            if element.tag not in (0x7FE00010, 0x00020102):
                for codec in READ_AS:
                    yield here, element.VR, element.value.decode(codec, "ignore")
        elif element.VR in TEXT:
            values = element.value if isinstance(element.value, MultiValue) else [element.value]
            yield here, element.VR, "\\".join(map(str, values))


def left_decoded(path: Path, person: Patient) -> list[Leak]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path, force=True)
        places = [*decoded(dataset.file_meta, "meta"), *decoded(dataset)]
    found = []
    for where, vr, text in places:
        if text and not (vr in ("DA", "DT", "TM") and not re.search(r"[^\d.+\-\s\\]", text)):
            folded = fold(text)
            found += [Leak(where, s, "decoded") for s in person.secrets if holds(text, folded, s)]
    return found


def holds(text: str, folded: str, secret: Secret) -> bool:
    if secret.folded.isdigit() and len(secret.folded) < 9 and not secret.whole:
        return (
            re.search(rf"(?<![\d.]){secret.folded}(?![\d.])", normalize("NFKC", text)) is not None
        )
    if secret.whole:
        words = re.split(r"[\s\\^,;:]+", text)
        return any(fold(word) == secret.folded for word in words)
    return secret.folded in folded


@lru_cache(maxsize=64)
def _needles(texts: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(
        raw.lower()
        for text in texts
        for codec in CODECS
        if len(raw := text.encode(codec, "ignore"))
        > (5 if text.isascii() or codec.startswith("utf-16") else 3)
    )


def left_raw(raw: bytes, mentions: list[Mention]) -> list[str]:
    """Return what is in the bytes, in any encoding; dates and short numbers occur by chance."""
    texts = tuple(
        sorted(
            {
                m.text
                for m in mentions
                if m.kind not in ("birth", "old card")
                and not (m.text.isdigit() and len(m.text) < 8)
            }
        )
    )
    lowered = raw.lower()
    return [needle.decode("latin-1") for needle in _needles(texts) if needle in lowered]


def technical(before: Dataset, after: Dataset, path: str = "") -> Iterator[str]:
    """Yield the keywords of what was kept by no one, or changed."""
    for element in before:
        if element.VR == "SQ" and element.tag in after:
            for one, other in zip(element.value, after[element.tag].value, strict=False):
                yield from technical(one, other, f"{path}{element.keyword}>")
        elif (
            element.keyword in TECHNICAL
            and not element.is_empty
            and (path == "" or element.tag in after)
        ):
            found = after.get(element.tag)
            if found is None or str(found.value).strip() != str(element.value).strip():
                yield f"{path}{element.keyword}"


def uids(before: Dataset, after: Dataset) -> Iterator[tuple[str, str]]:
    """Yield every UID and what it became, wherever both stand in the same place."""
    for element in before:
        if element.tag not in after:
            continue
        if element.VR == "SQ":
            for one, other in zip(element.value, after[element.tag].value, strict=False):
                yield from uids(one, other)
        elif element.VR == "UI" and not element.is_empty:
            one, other = element.value, after[element.tag].value
            pairs = zip(one, other, strict=False) if isinstance(one, MultiValue) else [(one, other)]
            yield from ((str(a), str(b)) for a, b in pairs)
