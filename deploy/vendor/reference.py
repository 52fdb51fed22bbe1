"""A drawn lesion's reference standard, as a reading room sends it: a DICOM segmentation."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from deploy.vendor.images import Mask, uid_of

WHEN = ("SeriesDate", "ContentDate", "InstanceCreationDate")
WHEN_IN_A_DAY = ("SeriesTime", "ContentTime", "InstanceCreationTime")


def write_reference(
    rng: np.random.Generator, images: list[Dataset], where: Mask, label: str, file: Path
) -> None:
    """Write where a lesion is, named by its label; the same seed gives the same bytes."""
    from highdicom.seg import (
        SegmentAlgorithmTypeValues,
        Segmentation,
        SegmentationTypeValues,
        SegmentDescription,
    )
    from highdicom.sr.coding import CodedConcept

    segment = SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=CodedConcept(
            "49755003", "SCT", "Morphologically abnormal structure"
        ),
        segmented_property_type=CodedConcept("1", "99TWIN", label),
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
    )
    drawn = Segmentation(
        source_images=images,
        pixel_array=where.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=uid_of(rng),
        series_number=2,
        sop_instance_uid=uid_of(rng),
        instance_number=1,
        manufacturer="SYNTHETIC",
        manufacturer_model_name="TWIN READER",
        software_versions="1",
        device_serial_number="1",
    )
    for keyword, value in (
        *((each, images[0].StudyDate) for each in WHEN),
        *((each, images[0].StudyTime) for each in WHEN_IN_A_DAY),
    ):
        if keyword in drawn:
            setattr(drawn, keyword, value)
    drawn.pop("ContributingEquipmentSequence", None)  # says when, to the microsecond
    organised = uid_of(rng)
    for item in (*drawn.DimensionOrganizationSequence, *drawn.DimensionIndexSequence):
        item.DimensionOrganizationUID = organised
    drawn.save_as(file, enforce_file_format=True)
