"""Readers' segmentations of a made-up hospital's series: real objects, the least that is one."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from tests.fakes.hospital import facts

SIDE = 8


def square():
    """Return where `write_image` makes an image bright."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[2:6, 2:6] = True
    return mask


def a_segmentation(path, uid, image_uid, mask, name="Nodule"):
    """Write a binary segmentation of one plane."""
    seg, segment, kind, frame, number = (Dataset() for _ in range(5))
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.file_meta.MediaStorageSOPClassUID = seg.SOPClassUID = SegmentationStorage
    seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID = uid
    seg.Rows = seg.Columns = SIDE
    seg.NumberOfFrames, seg.BitsAllocated, seg.BitsStored, seg.HighBit = 1, 1, 1, 0
    seg.SamplesPerPixel, seg.PixelRepresentation, seg.SegmentationType = 1, 0, "BINARY"
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "27925004", "SCT", name
    segment.SegmentNumber, segment.SegmentedPropertyTypeCodeSequence = 1, [kind]
    seg.SegmentSequence = [segment]
    number.ReferencedSegmentNumber = 1
    frame.SegmentIdentificationSequence = [number]
    source, derived = Dataset(), Dataset()
    source.ReferencedSOPInstanceUID = image_uid
    derived.SourceImageSequence = [source]
    frame.DerivationImageSequence = [derived]
    seg.PerFrameFunctionalGroupsSequence = [frame]
    seg.PixelData = np.packbits(mask.ravel(), bitorder="little").tobytes()
    seg["PixelData"].VR = "OB"
    seg.save_as(path, enforce_file_format=True)


def draw(hospital, number, mask, reader="SEG a", label="nodule"):
    """Store one reader's drawing of a patient's series, indexed as the line would."""
    mark = f"2.25.7{number:02d}{ord(reader[-1])}"
    path = f"{number}{reader[-1]}.seg.dcm"
    a_segmentation(hospital.directory / "store" / path, mark, f"2.25.{number + 1}3", mask)
    hospital.index.add([
        facts(number, sop_uid=mark, series_uid=f"{mark}.1", modality="SEG", path=path,
              sop_class_uid=SegmentationStorage)
    ])  # fmt: skip
    with hospital.index.transaction() as connection:
        connection.execute(
            "INSERT INTO label (series_uid, name, value, reader, source) VALUES (?, ?, ?, ?, ?)",
            (f"2.25.{number}2", label, "POSITIVE", reader, mark),
        )
