"""Whole series of an invented head, as scanners send them: every slice an instance."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from gateway.model import Arrival, RealUID
from tests.fakes.custody_house import Instance, written
from tests.fakes.heads import Head, Stack

STUDY, SERIES = "1.2.840.77.1", "1.2.840.77.2"


def values_of(head: Head, stack: Stack, number: int, modality: str):
    points = np.broadcast_arrays(*stack.points(number))
    values = (head.ct if modality == "CT" else head.mr)(*points, number)
    return np.rint(values + 1024 if modality == "CT" else values).clip(0, 4095).astype(np.uint16)


def a_slice(head, stack, number, modality="CT", *, series=SERIES, **elements) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = f"{series}.{number + 1}"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, series
    dataset.FrameOfReferenceUID = f"{STUDY}.9"
    dataset.PatientID, dataset.PatientName = "QX471177", "Featherstone^Quentin"
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20240102", "101112", modality
    dataset.BodyPartExamined, dataset.ImageType = "HEAD", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = [f"{v:.6g}" for v in stack.origin(number)]
    dataset.ImageOrientationPatient = [f"{v:.8g}" for v in (*stack.across, *stack.down)]
    dataset.PixelSpacing, dataset.SliceThickness = [stack.spacing, stack.spacing], 4
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = stack.rows, stack.columns, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    if modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    dataset.PixelData = values_of(head, stack, number, modality).tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def series_of(head, stack, modality="CT", **elements) -> list[Dataset]:
    return [a_slice(head, stack, number, modality, **elements) for number in range(stack.count)]


def instance(dataset: Dataset) -> Instance:
    arrival = Arrival(
        str(dataset.SOPClassUID),
        RealUID(str(dataset.SOPInstanceUID)),
        str(dataset.file_meta.TransferSyntaxUID),
        "PACS",
        "RADFED",
    )
    return written(dataset, Instance(arrival, b""))


def enhanced(head: Head, stack: Stack) -> Dataset:
    """The whole series as one Enhanced CT (PS3.3 A.38)."""
    whole = a_slice(head, stack, 0)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(whole, keyword)
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType", "SliceThickness"):
        delattr(whole, keyword)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    whole.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    whole.NumberOfFrames = stack.count
    shared, measures, axes, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [stack.spacing, stack.spacing], 4
    axes.ImageOrientationPatient = [f"{v:.8g}" for v in (*stack.across, *stack.down)]
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [axes]
    shared.PixelValueTransformationSequence = [rescale]
    whole.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in range(stack.count):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [f"{v:.6g}" for v in stack.origin(number)]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = frames
    values = [values_of(head, stack, number, "CT") for number in range(stack.count)]
    whole.PixelData = np.stack(values).tobytes()
    whole["PixelData"].VR = "OW"
    return whole
