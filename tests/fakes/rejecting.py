"""Rejection notes as a PACS sends them (IHE RAD TF-2 4.66)."""

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from gateway.model import Arrival, RealUID
from tests.fakes.custody_house import Instance, dataset_of, written


def code(value, meaning, scheme="DCM"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def key_objects(rejected, title="113001", uid="1.2.840.77.1", *, scheme="DCM") -> Dataset:
    """A key object document about these datasets, in a series of its own in their study."""
    first = rejected[0]
    document = Dataset()
    document.SOPClassUID, document.SOPInstanceUID = KeyObjectSelectionDocumentStorage, uid
    document.StudyInstanceUID, document.SeriesInstanceUID = first.StudyInstanceUID, f"{uid}.9"
    document.PatientID, document.PatientName = first.PatientID, first.PatientName
    document.StudyDate, document.ContentDate, document.ContentTime = "20200101", "20200102", "10"
    document.Modality, document.InstanceNumber, document.SeriesNumber = "KO", 1, 999
    document.ValueType, document.ContinuityOfContent = "CONTAINER", "SEPARATE"
    document.ConceptNameCodeSequence = [code(title, "Rejected", scheme)]
    study = Dataset()
    study.StudyInstanceUID = first.StudyInstanceUID
    study.ReferencedSeriesSequence = []
    document.ContentSequence = []
    for dataset in rejected:
        reference = Dataset()
        reference.ReferencedSOPClassUID = dataset.SOPClassUID
        reference.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        series = Dataset()
        series.SeriesInstanceUID = dataset.SeriesInstanceUID
        series.ReferencedSOPSequence = [reference]
        study.ReferencedSeriesSequence.append(series)
        content = Dataset()
        content.RelationshipType, content.ValueType = "CONTAINS", "IMAGE"
        content.ReferencedSOPSequence = [reference]
        document.ContentSequence.append(content)
    document.CurrentRequestedProcedureEvidenceSequence = [study]
    return document


def note(*rejected: Instance, title="113001", uid="1.2.840.77.1", scheme="DCM") -> Instance:
    document = key_objects([dataset_of(i) for i in rejected], title, uid, scheme=scheme)
    arrival = Arrival(
        str(KeyObjectSelectionDocumentStorage),
        RealUID(uid),
        str(ExplicitVRLittleEndian),
        "PACS",
        "RADFED",
    )
    return written(document, Instance(arrival, b""))
