"""DICOM audit messages (PS3.15 A.5): which event of the trail becomes which, as ET.

Nothing of a trail's free text is in one: an event's name, who acted, an outcome; of images the
pseudonymous UIDs under which they are stored, and their patient's pseudonym.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from xml.etree import ElementTree as ET

DCM = "DCM"


class Outcome(IntEnum):
    """EventOutcomeIndicator (PS3.15 A.5.1)."""

    SUCCESS = 0
    MINOR = 4
    SERIOUS = 8
    MAJOR = 12


class Action(StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    EXECUTE = "E"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded word of DICOM's own terminology (PS3.16 annex D)."""

    value: str
    meaning: str


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
AUDIT_LOG_USED = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
SECURITY_ALERT = Code("110113", "Security Alert")
STARTED = Code("110120", "Application Start")
STOPPED = Code("110121", "Application Stop")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")
ATTRIBUTES_CHANGED = Code("110135", "Object Security Attributes Changed")
APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
STUDY_UID = Code("110180", "Study Instance UID")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event of the trail is in DICOM's words."""

    event: Code
    type: Code | None
    action: Action = Action.EXECUTE
    outcome: Outcome = Outcome.SUCCESS


_ALERT = SECURITY_ALERT
MEANINGS: Mapping[str, Meaning] = {
    "gateway_started": Meaning(APPLICATION_ACTIVITY, STARTED),
    "gateway_stopped": Meaning(APPLICATION_ACTIVITY, STOPPED),
    "audit_exported": Meaning(AUDIT_LOG_USED, None, Action.READ),
    "audit_pruned": Meaning(AUDIT_LOG_USED, None, Action.READ),
    "audit_skipped": Meaning(_ALERT, RECORDING_STOPPED, outcome=Outcome.SERIOUS),
    "certificate_refused": Meaning(_ALERT, NODE_AUTHENTICATION, outcome=Outcome.MINOR),
    "gate_kept_in": Meaning(_ALERT, RESTRICTED_FUNCTION, outcome=Outcome.SERIOUS),
    "checkpoint_fault": Meaning(_ALERT, ATTRIBUTES_CHANGED, outcome=Outcome.MAJOR),
    "ledger_reconciled": Meaning(_ALERT, SECURITY_CONFIGURATION, outcome=Outcome.MINOR),
    "spending_reconciled": Meaning(_ALERT, SECURITY_CONFIGURATION, outcome=Outcome.MINOR),
    "manifest_refused": Meaning(_ALERT, SECURITY_CONFIGURATION, outcome=Outcome.SERIOUS),
    "pin_refused": Meaning(_ALERT, SECURITY_CONFIGURATION, outcome=Outcome.MINOR),
    "pinned": Meaning(_ALERT, SECURITY_CONFIGURATION),
    "root_unpinned": Meaning(_ALERT, SECURITY_CONFIGURATION),
    "vendor_pinned": Meaning(_ALERT, SECURITY_CONFIGURATION),
    "key_rotated": Meaning(_ALERT, SECURITY_CONFIGURATION),
    "reidentified": Meaning(_ALERT, RESTRICTED_FUNCTION),
    "reidentification_refused": Meaning(_ALERT, RESTRICTED_FUNCTION, outcome=Outcome.MINOR),
}


@dataclass(frozen=True, slots=True)
class Received:
    """Instances of one study that came in together, by SOP class."""

    study_uid: str  # a pseudonym of this site
    patient: str  # as well
    classes: Mapping[str, int] = field(default_factory=dict)


def of_event(event: str, at: str, site: str, by: str | None) -> bytes | None:
    """Return an event's message; None where DICOM has no word for it."""
    meaning = MEANINGS.get(event)
    if meaning is None:
        return None
    root = _begun(meaning, at)
    _participant(root, f"radfed-{site}", APPLICATION, requestor=by is None)
    if by is not None:
        _participant(root, by, None, requestor=True)
    _source(root, site)
    if meaning.event is AUDIT_LOG_USED:
        log = _object(root, f"radfed:{site}/audit", "2", "13")
        _code(log, "ParticipantObjectIDTypeCode", Code("12", "URI"), "RFC-3881")
        _name(log, "Security Audit Log")
    elif meaning.event is SECURITY_ALERT:
        what = _object(root, f"radfed:{site}", "2", "13")
        _code(what, "ParticipantObjectIDTypeCode", Code("12", "URI"), "RFC-3881")
        _name(what, event)
    return _bytes(root)


def of_received(received: Received, at: str, site: str, *, ended: bool) -> bytes:
    """Return what says that instances of a study come in, or that they have come."""
    event = INSTANCES_TRANSFERRED if ended else BEGIN_TRANSFERRING
    action = Action.CREATE if ended else Action.EXECUTE
    root = _begun(Meaning(event, None, action), at)
    _participant(root, f"senders-of-{site}", SOURCE, requestor=True)
    _participant(root, f"radfed-{site}", DESTINATION, requestor=False)
    _source(root, site)
    study = _object(root, received.study_uid, "2", "3")
    _code(study, "ParticipantObjectIDTypeCode", STUDY_UID, DCM)
    _name(study, "de-identified study")
    described = ET.SubElement(study, "ParticipantObjectDescription")
    for uid, count in sorted(received.classes.items()):
        ET.SubElement(described, "SOPClass", {"UID": uid, "NumberOfInstances": str(count)})
    ET.SubElement(described, "Anonymized").text = "true"
    patient = _object(root, received.patient, "1", "1")
    _code(patient, "ParticipantObjectIDTypeCode", Code("2", "Patient Number"), "RFC-3881")
    _name(patient, "de-identified patient")
    return _bytes(root)


def _begun(meaning: Meaning, at: str) -> ET.Element:
    root = ET.Element("AuditMessage")
    event = ET.SubElement(root, "EventIdentification", {
        "EventActionCode": meaning.action,
        "EventDateTime": at,
        "EventOutcomeIndicator": str(int(meaning.outcome)),
    })  # fmt: skip
    _code(event, "EventID", meaning.event, DCM)
    if meaning.type is not None:
        _code(event, "EventTypeCode", meaning.type, DCM)
    return root


def _participant(root: ET.Element, who: str, role: Code | None, *, requestor: bool) -> None:
    fields = {"UserID": who, "UserIsRequestor": "true" if requestor else "false"}
    participant = ET.SubElement(root, "ActiveParticipant", fields)
    if role is not None:
        _code(participant, "RoleIDCode", role, DCM)


def _source(root: ET.Element, site: str) -> None:
    fields = {"AuditEnterpriseSiteID": site, "AuditSourceID": f"radfed-{site}"}
    source = ET.SubElement(root, "AuditSourceIdentification", fields)
    _code(source, "AuditSourceTypeCode", Code("4", "Application Server"), "RFC-3881")


def _object(root: ET.Element, name: str, kind: str, role: str) -> ET.Element:
    fields = {
        "ParticipantObjectID": name, "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }  # fmt: skip
    return ET.SubElement(root, "ParticipantObjectIdentification", fields)


def _name(parent: ET.Element, name: str) -> None:
    """Name an object: the schema demands a name, and a pseudonym has none."""
    ET.SubElement(parent, "ParticipantObjectName").text = name


def _code(parent: ET.Element, name: str, code: Code, system: str) -> None:
    fields = {"csd-code": code.value, "codeSystemName": system, "originalText": code.meaning}
    ET.SubElement(parent, name, fields)


def _bytes(root: ET.Element) -> bytes:
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))
