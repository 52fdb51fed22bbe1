"""The commands of storage commitment as bytes, held against pynetdicom's codec."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode

from gateway.intake.dimse import (
    BadMessage,
    CommandField,
    MessageReader,
    Reply,
    encode_event_report,
)
from gateway.intake.rules import COMMITMENT, COMMITMENT_INSTANCE


def a_reply(message_id=7, status=0x0000):
    primitive, message = N_EVENT_REPORT(), N_EVENT_REPORT_RSP()
    primitive.MessageIDBeingRespondedTo, primitive.Status = message_id, status
    primitive.AffectedSOPClassUID = COMMITMENT.decode()
    message.primitive_to_message(primitive)
    return encode(message.command_set, is_implicit_vr=True, is_little_endian=True)


def test_our_request_is_pynetdicoms():
    primitive, message = N_EVENT_REPORT(), N_EVENT_REPORT_RQ()
    primitive.MessageID, primitive.EventTypeID = 9, 2
    primitive.AffectedSOPClassUID = COMMITMENT.decode()
    primitive.AffectedSOPInstanceUID = COMMITMENT_INSTANCE.decode()
    primitive.EventInformation = BytesIO(b"x")
    message.primitive_to_message(primitive)

    ours = BytesIO(encode_event_report(COMMITMENT, COMMITMENT_INSTANCE, 2, 9))

    read = decode(ours, is_implicit_vr=True, is_little_endian=True)
    assert read == message.command_set


def test_a_reply_is_read_where_it_was_asked_for():
    reader = MessageReader()
    reader.asked = 7

    reply = reader.command_fragment(1, memoryview(a_reply(status=0x0110)), last=True)

    assert reply == Reply(CommandField.N_EVENT_REPORT | 0x8000, 7, 0x0110, has_dataset=False)
    with pytest.raises(BadMessage):
        reader.command_fragment(1, memoryview(a_reply()), last=True)


def test_a_reply_to_another_request_ends_the_association():
    reader = MessageReader()
    reader.asked = 8

    with pytest.raises(BadMessage):
        reader.command_fragment(1, memoryview(a_reply()), last=True)
