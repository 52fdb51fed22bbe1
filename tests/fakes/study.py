"""A study as a department makes it: CT, and what refers to it, by highdicom and by hand."""

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

ORGAN = CodedConcept("39607008", "SCT", "Lung")
FINDING = CodedConcept("27925004", "SCT", "Nodule")
DEVICE = {
    "manufacturer": "Maker",
    "manufacturer_model_name": "Model",
    "software_versions": "1.0",
    "device_serial_number": "7",
}


def ct_slices(count=3, date="20190203", study="1.2.840.60.1", series="1.2.840.61.1"):
    slices = []
    for number in range(1, count + 1):
        dataset = dcmread(get_testdata_file("CT_small.dcm"))
        for tag in [tag for tag in dataset.keys() if tag.is_private or tag.group in (0x60, 0xFFFC)]:  # noqa: SIM118
            del dataset[tag]
        dataset.PatientID, dataset.PatientName = "QX471177", "Featherstone^Quentin"
        dataset.PatientBirthDate, dataset.PatientAge = "19300101", "092Y"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = f"{series}.{number}"
        dataset.FrameOfReferenceUID = f"{study}.9"
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = date
        dataset.ContentDate, dataset.AcquisitionTime = date, f"10111{number}.250000"
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient = [0, 0, float(number)]
        dataset.SliceThickness = 1
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        slices.append(dataset)
    return slices


def segmentation(images):
    mask = np.zeros((len(images), images[0].Rows, images[0].Columns), np.uint8)
    mask[:, 20:40, 20:40] = 1
    segment = hd.seg.SegmentDescription(
        1, "Lung of Featherstone", ORGAN, ORGAN, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    return hd.seg.Segmentation(
        images, mask, hd.seg.SegmentationTypeValues.BINARY, [segment],
        series_instance_uid="1.2.840.61.20", series_number=20,
        sop_instance_uid="1.2.840.61.20.1", instance_number=1, **DEVICE,
    )  # fmt: skip


def report(images, seg):
    """A measurement report (TID 1500) that points at a slice, at a segment and at its own kin."""
    observer = hd.sr.ObserverContext(
        CodedConcept("121006", "DCM", "Person"),
        hd.sr.PersonObserverIdentifyingAttributes(name="Rivera^Marta"),
    )
    segment = hd.sr.ReferencedSegment(
        seg.SOPClassUID, seg.SOPInstanceUID, 1,
        source_series=hd.sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID),
    )  # fmt: skip
    measured = hd.sr.Measurement(
        CodedConcept("81827009", "SCT", "Diameter"), 7.5, CodedConcept("mm", "UCUM", "millimeter"),
        referenced_images=[
            hd.sr.SourceImageForMeasurement(images[0].SOPClassUID, images[0].SOPInstanceUID)
        ],
    )  # fmt: skip
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment,
        tracking_identifier=hd.sr.TrackingIdentifier(uid="1.2.840.62.77", identifier="nodule 1"),
        finding_type=FINDING,
        measurements=[measured],
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=CodedConcept("25045-6", "LN", "CT unspecified body region"),
        imaging_measurements=[group],
    )
    return hd.sr.Comprehensive3DSR(
        [*images, seg], content[0], series_instance_uid="1.2.840.61.30", series_number=30,
        sop_instance_uid="1.2.840.61.30.1", instance_number=1, manufacturer="Maker",
        is_complete=True, is_final=True, is_verified=True, verifying_observer_name="Rivera^Marta",
        verifying_organization="Blackwater Infirmary",
    )  # fmt: skip


def presentation(images):
    layer = hd.pr.GraphicLayer("ONE", 1, "marks by Featherstone")
    text = hd.pr.TextObject("Featherstone, 5 mm", hd.pr.AnnotationUnitsValues.PIXEL,
                            bounding_box=(10, 10, 40, 20))  # fmt: skip
    circle = hd.pr.GraphicObject(
        hd.pr.GraphicTypeValues.POINT, np.array([[20.0, 20.0]]), hd.pr.AnnotationUnitsValues.PIXEL,
        tracking_id="nodule 1", tracking_uid="1.2.840.62.77",
    )  # fmt: skip
    annotation = hd.pr.GraphicAnnotation(
        images, layer, graphic_objects=[circle], text_objects=[text]
    )
    return hd.pr.GrayscaleSoftcopyPresentationState(
        images, "1.2.840.61.40", 40, "1.2.840.61.40.1", 1, "Maker", "Model", "1.0", "7",
        content_label="MARKS", content_creator_name="Rivera^Marta",
        graphic_layers=[layer], graphic_annotations=[annotation],
    )  # fmt: skip


def structures(images):
    """An RT structure set with one contour on every slice."""
    dataset = _instance(images[0], "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", "1.2.840.61.50")
    dataset.StructureSetLabel, dataset.StructureSetDate = "PLAN", images[0].StudyDate
    dataset.StructureSetTime = "120000"
    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = Sequence([_reference(image) for image in images])
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = Sequence([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = Sequence([study])
    dataset.ReferencedFrameOfReferenceSequence = Sequence([frame])
    roi = Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = 1, "GTV Featherstone", "MANUAL"
    roi.ReferencedFrameOfReferenceUID = images[0].FrameOfReferenceUID
    dataset.StructureSetROISequence = Sequence([roi])
    contours = []
    for image in images:
        contour = Dataset()
        contour.ContourImageSequence = Sequence([_reference(image)])
        contour.ContourGeometricType, contour.NumberOfContourPoints = "POINT", 1
        contour.ContourData = [1.0, 2.0, float(image.InstanceNumber)]
        contours.append(contour)
    of_roi = Dataset()
    of_roi.ReferencedROINumber, of_roi.ContourSequence = 1, Sequence(contours)
    dataset.ROIContourSequence = Sequence([of_roi])
    observed = Dataset()
    observed.ObservationNumber, observed.ReferencedROINumber = 1, 1
    observed.RTROIInterpretedType, observed.ROIInterpreter = "GTV", "Rivera^Marta"
    dataset.RTROIObservationsSequence = Sequence([observed])
    return dataset


def _instance(image, sop_class, modality, series):
    dataset = Dataset()
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "StudyInstanceUID",
        "StudyDate",
    ):
        setattr(dataset, keyword, getattr(image, keyword))
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = series, f"{series}.1"
    dataset.Manufacturer, dataset.SeriesNumber, dataset.StudyID = "Maker", 50, "1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _reference(image):
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item


def whole():
    """Every instance of the study, those that refer to others last."""
    images = ct_slices()
    seg = segmentation(images)
    return [*images, seg, report(images, seg), presentation(images), structures(images)]
