"""Gather what an instance says about its people, before anything is taken out of it."""

from collections.abc import Iterator, Mapping
from functools import cache

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from gateway.deid import elements
from gateway.deid.dates import parse_date
from gateway.deid.names import Identity

# Longer than any name or list of IDs: damage that swallowed what follows. Compiling it would stall.
LONGEST = 2048
NUMBERS = """
PatientID OtherPatientIDs AccessionNumber StudyID AdmissionID MedicalRecordLocator
ServiceEpisodeID RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID
PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest
InsurancePlanIdentification SpecimenIdentifier ContainerIdentifier ClinicalTrialSubjectID
PatientTelephoneNumbers PatientTelecomInformation ReferringPhysicianTelephoneNumbers
OrderCallbackPhoneNumber PersonTelephoneNumbers InterpretationID ResultsID
"""
PLACES = """
InstitutionName InstitutionAddress InstitutionalDepartmentName PatientAddress PersonAddress
ReferringPhysicianAddress ResponsibleOrganization RequestingService IssuerOfPatientID
PatientInstitutionResidence CurrentPatientLocation
"""
PEOPLE = "OtherPatientNames PatientBirthName PatientMotherBirthName TopicAuthor"
BIRTHS = "PatientBirthDate"


@cache
def kinds() -> Mapping[int, str]:
    found = {}
    for kind, keywords in (
        ("numbers", NUMBERS),
        ("places", PLACES),
        ("people", PEOPLE),
        ("births", BIRTHS),
    ):
        for keyword in keywords.split():
            tag = tag_for_keyword(keyword)
            assert tag is not None
            found[tag] = kind
    return found


def gather(dataset: Dataset, declared: tuple[str, ...], retained: frozenset[int]) -> Identity:
    """Walk the whole instance; `retained` are attributes the profile keeps on purpose."""
    identity = Identity()
    known = kinds()
    for tag, vr, item, encodings in _everything(dataset, declared):
        kind = "people" if vr == "PN" else known.get(int(tag))
        if kind is None or tag in retained:
            continue
        if isinstance(item.value, bytes) and len(item.value) > LONGEST:
            raise elements.Unreadable(tag)
        values = [
            value.strip("\0 ")
            for reading in elements.readings(item, encodings)
            for value in reading.split("\\")
        ]
        if kind == "births":
            identity.births.update(date for value in values if (date := parse_date(value)))
        else:
            getattr(identity, kind).update(value for value in values if value)
    return identity


def _everything(
    dataset: Dataset, declared: tuple[str, ...], depth: int = 0
) -> Iterator[tuple[int, str | None, elements.Held, tuple[str, ...]]]:
    elements.check_depth(depth)
    encodings = elements.charset_of(dataset, declared)
    for tag in elements.tags(dataset):
        held = elements.held(dataset, tag)
        vr = elements.likely_vr(held)
        if vr == "SQ":
            for item in elements.items(dataset, tag):
                yield from _everything(item, encodings, depth + 1)
        else:
            yield tag, vr, held, encodings
