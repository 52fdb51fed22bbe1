"""Reference standards as reading rooms send them, made with highdicom and pydicom."""

import io
from copy import deepcopy

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

NODULE = CodedConcept("27925004", "SCT", "Nodule")
ABNORMALITY = CodedConcept("49755003", "SCT", "Morphologically abnormal structure")
PRESENCE = CodedConcept("705057003", "SCT", "Presence")
ABSENT = CodedConcept("2667000", "SCT", "Absent")
CALCIFIED = CodedConcept("99.1", "99HOSPITAL", "Calcified")
YES = CodedConcept("373066001", "SCT", "Yes")


def images(shipped_ct, count=3):
    """Return a CT series of several slices, as datasets."""
    first = dcmread(io.BytesIO(shipped_ct)) if isinstance(shipped_ct, bytes) else shipped_ct
    for number in range(count):
        image = deepcopy(first)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.77.{number + 1}"
        image.InstanceNumber = str(number + 1)
        image.ImagePositionPatient = [0, 0, number * 2.5]
        yield image


def segmentation(sources, *, drawn):
    mask = np.zeros((len(sources), int(sources[0].Rows), int(sources[0].Columns)), np.uint8)
    if drawn:
        mask[1, 10:14, 20:25] = 1
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Knoten Dr. Huber",
        segmented_property_category=ABNORMALITY,
        segmented_property_type=NODULE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="SYNTHETIC",
        manufacturer_model_name="READER",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=False,
    )


def report(sources, *, absent=False, observer="Huber^Anna"):
    """Return a TID 1500 report of one finding on the sources' series."""
    evaluations = [hd.sr.QualitativeEvaluation(CALCIFIED, YES)]
    if absent:
        evaluations.append(hd.sr.QualitativeEvaluation(PRESENCE, ABSENT))
    region = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POINT,
        graphic_data=np.array([[5.0, 5.0]]),
        source_image=hd.sr.SourceImageForRegion.from_source_image(sources[0]),
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(), identifier="n1"),
        referenced_region=region,
        finding_type=NODULE,
        qualitative_evaluations=evaluations,
    )
    context = hd.sr.ObservationContext(
        observer_person_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(
                name=observer
            ),
        )
    )
    content = hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=sources,
        content=content[0],
        series_number=8,
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="SYNTHETIC",
        is_complete=True,
        is_final=True,
        is_verified=False,
    )


def structures(sources):
    """Return pydicom's RTSTRUCT, pointed at the sources: two ROIs, one of them never drawn."""
    found = dcmread(get_testdata_file("rtstruct.dcm"), force=True)
    found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    first = sources[0]
    found.PatientID, found.PatientName = first.PatientID, first.PatientName
    found.StudyInstanceUID = first.StudyInstanceUID
    found.StructureSetROISequence = [_roi(1, "PTV Huber"), _roi(2, "Herz")]
    found.ROIContourSequence = [_contour(1)]
    found.RTROIObservationsSequence = [_observed(1, "GTV"), _observed(2, "ORGAN")]
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = []
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = first.get("FrameOfReferenceUID", "1.2.3.4")
    frame.RTReferencedStudySequence = [study]
    found.ReferencedFrameOfReferenceSequence = [frame]
    return found


def _roi(number, name):
    item = Dataset()
    item.ROINumber, item.ROIName = number, name
    item.ReferencedFrameOfReferenceUID, item.ROIGenerationAlgorithm = "1.2.3.4", "MANUAL"
    return item


def _contour(number):
    item, contour = Dataset(), Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "POINT", 1
    contour.ContourData = [0.0, 0.0, 0.0]
    item.ReferencedROINumber, item.ContourSequence = number, [contour]
    return item


def _observed(number, kind):
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = kind, "Huber^Anna"
    return item
