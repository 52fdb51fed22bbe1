"""Command sets against pynetdicom's, and how fragments become messages."""

from contextlib import suppress
from io import BytesIO
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom.dimse_messages import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
)
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_STORE, N_ACTION
from pynetdicom.dsutils import encode

from gateway.intake.dimse import (
    COMMAND_AT_MOST,
    BadMessage,
    Command,
    CommandField,
    MessageReader,
    Status,
    decode_command,
    encode_response,
    is_uid,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
uids = st.lists(st.integers(0, 99999), min_size=2, max_size=8).map(
    lambda parts: ".".join(["1", *map(str, parts)])
)


def written(message, primitive):
    message.primitive_to_message(primitive)
    return encode(message.command_set, is_implicit_vr=True, is_little_endian=True)


def a_store(sop_class=CT, instance="1.2.3", message_id=7):
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = sop_class, instance
    primitive.Priority = 0
    primitive.DataSet = BytesIO(b"dataset")
    primitive.MoveOriginatorApplicationEntityTitle = "MOVER"
    primitive.MoveOriginatorMessageID = 3
    return written(C_STORE_RQ(), primitive)


def an_echo():
    primitive = C_ECHO()
    primitive.MessageID, primitive.AffectedSOPClassUID = 1, "1.2.840.10008.1.1"
    return written(C_ECHO_RQ(), primitive)


@given(uids, uids, st.integers(0, 65535))
def test_a_store_is_read_as_pynetdicom_wrote_it(sop_class, instance, message_id):
    read = decode_command(a_store(sop_class, instance, message_id))

    assert read == Command(
        CommandField.C_STORE, message_id, sop_class.encode(), instance.encode(), has_dataset=True
    )


def test_an_echo_has_no_dataset():
    read = decode_command(an_echo())

    assert (read.field, read.has_dataset) == (CommandField.C_ECHO, False)


def test_an_action_names_its_object_in_the_requested_elements():
    primitive = N_ACTION()
    primitive.MessageID, primitive.ActionTypeID = 2, 1
    primitive.RequestedSOPClassUID = "1.2.840.10008.1.20.1"
    primitive.RequestedSOPInstanceUID = "1.2.840.10008.1.20.1.1"

    read = decode_command(written(N_ACTION_RQ(), primitive))

    assert read.sop_class == b"1.2.840.10008.1.20.1"
    assert read.sop_instance == b"1.2.840.10008.1.20.1.1"


def test_a_cancel_has_no_message_id_of_its_own():
    primitive = C_CANCEL()
    primitive.MessageIDBeingRespondedTo = 5

    assert decode_command(written(C_CANCEL_RQ(), primitive)).field == CommandField.C_CANCEL


def test_a_find_is_read_far_enough_to_refuse_it():
    primitive = C_FIND()
    primitive.MessageID, primitive.Priority = 9, 0
    primitive.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.2.1.1"
    primitive.Identifier = BytesIO(b"identifier")

    read = decode_command(written(C_FIND_RQ(), primitive))

    assert (read.field, read.message_id, read.has_dataset) == (CommandField.C_FIND, 9, True)


@given(uids, uids, st.integers(0, 65535), st.sampled_from(Status), st.text(max_size=90))
def test_pydicom_reads_the_response_we_write(sop_class, instance, message_id, status, comment):
    request = Command(1, message_id, sop_class.encode(), instance.encode(), has_dataset=True)

    response = encode_response(request, status, comment)

    read = read_dataset(BytesIO(response), is_implicit_VR=True, is_little_endian=True)
    assert read.CommandGroupLength == len(response) - 12
    assert read.CommandField == 0x8001
    assert read.MessageIDBeingRespondedTo == message_id
    assert read.CommandDataSetType == 0x0101
    assert read.Status == status
    assert read.AffectedSOPClassUID == sop_class
    assert read.AffectedSOPInstanceUID == instance
    assert len(read.get("ErrorComment", "")) <= 64
    assert [element.tag for element in read] == sorted(element.tag for element in read)


def element(number, value, group=0):
    return pack("<HHI", group, number, len(value)) + value


FIELD, MESSAGE, NO_DATASET = (
    element(0x100, b"\1\0"),
    element(0x110, b"\1\0"),
    element(0x800, b"\1\1"),
)
BAD = {
    "empty": b"",
    "an element cut short": FIELD + MESSAGE + NO_DATASET + b"\0\0",
    "an element longer than the command": FIELD + MESSAGE + pack("<HHI", 0, 0x800, 9) + b"\1\1",
    "an element twice": FIELD + FIELD + MESSAGE + NO_DATASET,
    "an element of another group": FIELD + MESSAGE + NO_DATASET + element(0x10, b"ab", group=16),
    "no command field": MESSAGE + NO_DATASET,
    "no message ID": FIELD + NO_DATASET,
    "no dataset type": FIELD + MESSAGE,
    "a command field of four bytes": element(0x100, b"\1\0\0\0") + MESSAGE + NO_DATASET,
    "a response": element(0x100, b"\1\x80") + MESSAGE + NO_DATASET,
}


@pytest.mark.parametrize("command", BAD.values(), ids=BAD)
def test_what_cannot_be_answered_is_a_bad_message(command):
    with pytest.raises(BadMessage):
        decode_command(command)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_command_is_read_or_refused_but_never_crashes(data):
    command = bytearray(a_store())
    for _ in range(data.draw(st.integers(1, 4))):
        command[data.draw(st.integers(0, len(command) - 1))] = data.draw(st.integers(0, 255))

    with suppress(BadMessage):
        decode_command(bytes(command[: data.draw(st.integers(0, len(command)))]))


@pytest.mark.parametrize("value", [b"1.2.840", b"2.25.1", b"1." + b"9" * 62, b"1.2.03"])
def test_a_uid_is_digits_and_dots(value):
    assert is_uid(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b"..",
        b"1..2",
        b"1.",
        b".1",
        b"../../x",
        b"1.2/../3",
        b"1.2\x003",
        b"$(rm)",
        b"1" * 65,
        b"1.2 3",
        b"\xff",
    ],
)
def test_what_could_be_a_path_or_a_command_is_no_uid(value):
    assert not is_uid(value)


def take(reader, data, *, last=True, context_id=1):
    return reader.command_fragment(context_id, memoryview(data), last=last)


def test_a_command_may_come_in_fragments():
    reader, command = MessageReader(), a_store()

    parts = [take(reader, command[:9], last=False), take(reader, command[9:], last=True)]

    assert parts == [None, decode_command(command)]
    assert reader.in_message
    reader.dataset_fragment(1, last=True)
    assert not reader.in_message


def test_an_echo_is_over_with_its_command():
    reader = MessageReader()

    take(reader, an_echo())

    assert not reader.in_message


def test_a_dataset_needs_a_command():
    with pytest.raises(BadMessage):
        MessageReader().dataset_fragment(1, last=True)


def test_a_dataset_belongs_to_the_context_of_its_command():
    reader = MessageReader()
    take(reader, a_store())

    with pytest.raises(BadMessage):
        reader.dataset_fragment(3, last=True)


def test_a_command_cannot_begin_inside_a_dataset():
    reader = MessageReader()
    take(reader, a_store())

    with pytest.raises(BadMessage):
        take(reader, an_echo())


def test_a_command_stays_in_one_context():
    reader = MessageReader()
    take(reader, a_store()[:9], last=False)

    with pytest.raises(BadMessage):
        take(reader, a_store()[9:], context_id=3)


def test_a_command_cannot_grow_without_bound():
    reader = MessageReader()
    take(reader, bytes(COMMAND_AT_MOST), last=False)

    with pytest.raises(BadMessage):
        take(reader, b"\0", last=False)
