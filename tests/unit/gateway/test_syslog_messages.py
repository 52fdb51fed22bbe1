from xml.etree import ElementTree as ET

from gateway.syslog.frame import framed
from gateway.syslog.messages import MEANINGS, Received, of_event, of_received

AT = "2026-11-25T10:00:00+00:00"
ORDER = [
    "EventIdentification", "ActiveParticipant", "AuditSourceIdentification",
    "ParticipantObjectIdentification",
]  # fmt: skip


def test_every_event_that_has_a_meaning_becomes_a_message_in_dicoms_order():
    for event in MEANINGS:
        root = ET.fromstring(of_event(event, AT, "tongji", "li"))

        places = [ORDER.index(child.tag) for child in root]
        assert root.tag == "AuditMessage"
        assert places == sorted(places)
        assert {0, 1, 2} <= set(places)
        for thing in root.iter("ParticipantObjectIdentification"):
            assert [child.tag for child in thing][:2] == [
                "ParticipantObjectIDTypeCode", "ParticipantObjectName",
            ]  # fmt: skip
        named = root.find("EventIdentification/EventID")
        assert named.attrib.keys() == {"csd-code", "codeSystemName", "originalText"}


def test_an_event_without_a_meaning_is_none_and_no_free_text_is_in_any():
    assert of_event("patient_withdrawn", AT, "tongji", "li") is None
    assert of_event("offer_taken", AT, "tongji", None) is None


def test_markup_in_a_name_stays_a_name():
    root = ET.fromstring(of_event("pinned", AT, "tongji", '"><Evil/>&'))

    assert root.find(".//Evil") is None
    assert '"><Evil/>&' in {each.get("UserID") for each in root.iter("ActiveParticipant")}


def test_instances_are_told_by_their_pseudonyms_and_said_to_be_anonymised():
    received = Received("2.25.1", "p1", {"1.2.840.10008.5.1.4.1.1.2": 3})

    root = ET.fromstring(of_received(received, AT, "tongji", ended=True))

    study, patient = root.iter("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "2.25.1"
    described = study.find("ParticipantObjectDescription")
    assert described.find("SOPClass").get("NumberOfInstances") == "3"
    assert patient.get("ParticipantObjectID") == "p1"
    assert described.find("Anonymized").text == "true"


def test_a_frame_says_its_length_in_bytes_and_a_header_has_no_spaces_of_others():
    frame = framed("<é/>".encode(), AT, "a b\nc", 7, alert=True)

    length, _, body = frame.partition(b" ")
    assert int(length) == len(body)
    assert body.startswith(
        b"<84>1 2026-11-25T10:00:00+00:00 abc radfed 7 DICOM+RFC3881 - \xef\xbb\xbf<"
    )
