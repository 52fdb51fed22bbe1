"""The PDU codec against pynetdicom's, which plays the other side, over generated PDUs."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import pdu as oracle
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from gateway.intake.pdu import (
    AbortReason,
    AbortSource,
    AnsweredContext,
    ContextResult,
    InvalidPdu,
    Negotiated,
    Rejection,
    Role,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_data,
    encode_release_response,
)

uids = st.lists(st.integers(0, 99999), min_size=2, max_size=8).map(
    lambda parts: ".".join(["1", *map(str, parts)])
)
ae_titles = st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True)
roles = st.tuples(st.booleans(), st.booleans()).filter(any)


@st.composite
def requests(draw):
    """An A-ASSOCIATE-RQ by pynetdicom, with every kind of user information it can write."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = draw(ae_titles), draw(ae_titles)
    contexts = []
    for number in range(draw(st.integers(1, 12))):
        context = PresentationContext()
        context.context_id = 2 * number + 1
        context.abstract_syntax = draw(uids)
        context.transfer_syntax = draw(st.lists(uids, min_size=1, max_size=5, unique=True))
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = draw(st.integers(0, 2**32 - 1))
    implementation.implementation_class_uid = draw(uids)
    items = [maximum, implementation]
    if draw(st.booleans()):
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = draw(ae_titles)
        items.append(version)
    if draw(st.booleans()):
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = draw(st.integers(0, 65535))
        items.append(window)
    for uid in draw(st.lists(uids, max_size=3, unique=True)):
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = uid
        role.scu_role, role.scp_role = draw(roles)
        items.append(role)
    for uid in draw(st.lists(uids, max_size=3, unique=True)):
        extended = SOPClassExtendedNegotiation()
        extended.sop_class_uid = uid
        extended.service_class_application_information = draw(st.binary(min_size=1, max_size=9))
        items.append(extended)
    if draw(st.booleans()):
        common = SOPClassCommonExtendedNegotiation()
        common.sop_class_uid, common.service_class_uid = draw(uids), draw(uids)
        items.append(common)
    if draw(st.booleans()):
        identity = UserIdentityNegotiation()
        identity.user_identity_type = 1
        identity.primary_field = b"somebody"
        items.append(identity)
    primitive.user_information = items
    written = oracle.A_ASSOCIATE_RQ()
    written.from_primitive(primitive)
    return primitive, written.encode()


def of_kind(primitive, kind):
    return [item for item in primitive.user_information if isinstance(item, kind)]


@settings(max_examples=80, deadline=None)
@given(requests())
def test_a_request_is_read_as_pynetdicom_wrote_it(generated):
    primitive, written = generated

    read = decode_associate_request(written[6:])

    assert (read.calling_ae, read.called_ae) == (
        primitive.calling_ae_title,
        primitive.called_ae_title,
    )
    assert read.protocol_version == 1
    assert read.application_context == b"1.2.840.10008.3.1.1.1"
    assert [
        (c.context_id, c.abstract_syntax.decode(), [t.decode() for t in c.transfer_syntaxes])
        for c in read.contexts
    ] == [
        (c.context_id, c.abstract_syntax, c.transfer_syntax)
        for c in primitive.presentation_context_definition_list
    ]
    assert read.max_length == primitive.maximum_length_received
    assert read.implementation_class.decode() == primitive.implementation_class_uid
    assert read.asynchronous == bool(of_kind(primitive, AsynchronousOperationsWindowNegotiation))
    assert read.roles == {
        item.sop_class_uid.encode(): Role(item.scu_role, item.scp_role)
        for item in of_kind(primitive, SCP_SCU_RoleSelectionNegotiation)
    }
    assert read.extended == {
        item.sop_class_uid.encode(): item.service_class_application_information
        for item in of_kind(primitive, SOPClassExtendedNegotiation)
    }


@settings(max_examples=80, deadline=None)
@given(requests(), st.data())
def test_pynetdicom_reads_the_acceptance_we_write(generated, data):
    _, written = generated
    asked = decode_associate_request(written[6:])
    negotiated = Negotiated(
        contexts=tuple(
            AnsweredContext(
                c.context_id, data.draw(st.sampled_from(ContextResult)), c.transfer_syntaxes[0]
            )
            for c in asked.contexts
        ),
        max_length=data.draw(st.integers(0, 2**32 - 1)),
        implementation_class=b"1.2.3",
        implementation_version=b"RADFED",
        roles={uid: Role(scu=True, scp=False) for uid in asked.roles},
        extended=dict.fromkeys(asked.extended, b"\0\0\0\0\1\0"),
        asynchronous=asked.asynchronous,
    )

    answer = oracle.A_ASSOCIATE_AC()
    answer.decode(encode_associate_accept(written[6:], negotiated))
    read = answer.to_primitive()

    assert read.calling_ae_title == asked.calling_ae
    assert read.called_ae_title == asked.called_ae
    assert [(c.context_id, c.result) for c in answer.presentation_context] == [
        (c.context_id, c.result) for c in negotiated.contexts
    ]
    assert [c.transfer_syntax for c in answer.presentation_context] == [
        c.transfer_syntax.decode() for c in negotiated.contexts
    ]
    assert read.maximum_length_received == negotiated.max_length
    assert read.implementation_class_uid == "1.2.3"
    assert [
        item.implementation_version_name
        for item in of_kind(read, ImplementationVersionNameNotification)
    ] == ["RADFED"]
    assert {
        item.sop_class_uid.encode(): (item.scu_role, item.scp_role)
        for item in of_kind(read, SCP_SCU_RoleSelectionNegotiation)
    } == dict.fromkeys(asked.roles, (True, False))
    assert [
        (item.maximum_number_operations_invoked, item.maximum_number_operations_performed)
        for item in of_kind(read, AsynchronousOperationsWindowNegotiation)
    ] == [(1, 1)] * asked.asynchronous
    assert {
        item.sop_class_uid.encode(): item.service_class_application_information
        for item in of_kind(read, SOPClassExtendedNegotiation)
    } == negotiated.extended


@pytest.mark.parametrize("rejection", [Rejection(1, 1, 7), Rejection(2, 3, 1), Rejection(1, 2, 2)])
def test_pynetdicom_reads_the_rejection_we_write(rejection):
    answer = oracle.A_ASSOCIATE_RJ()

    answer.decode(encode_associate_reject(rejection))

    assert (answer.result, answer.source, answer.reason_diagnostic) == rejection
    assert answer.encode() == encode_associate_reject(rejection)


@pytest.mark.parametrize("source", AbortSource)
@pytest.mark.parametrize("reason", AbortReason)
def test_pynetdicom_reads_the_abort_we_write(source, reason):
    answer = oracle.A_ABORT_RQ()

    answer.decode(encode_abort(source, reason))

    assert (answer.source, answer.reason_diagnostic) == (source, reason)


def test_the_release_response_is_what_pynetdicom_would_write():
    assert encode_release_response() == oracle.A_RELEASE_RP().encode()


@given(st.integers(0, 127), st.integers(0, 3), st.binary(max_size=50))
def test_pynetdicom_reads_the_data_we_write(half, control, value):
    read = oracle.P_DATA_TF()

    read.decode(encode_data(2 * half + 1, control, value))

    (item,) = read.presentation_data_value_items
    assert item.presentation_context_id == 2 * half + 1
    assert item.presentation_data_value == bytes([control]) + value


@settings(max_examples=150, deadline=None)
@given(requests(), st.data())
def test_a_damaged_request_is_read_or_refused_but_never_crashes(generated, data):
    _, written = generated
    body = bytearray(written[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))

    for damaged in (bytes(body), bytes(body[:cut])):
        with suppress(InvalidPdu):
            decode_associate_request(damaged)


FIXED = b"\0\1\0\0" + b"A" * 32 + bytes(32)


def context(context_id, inner):
    return b"\x20\0" + (4 + len(inner)).to_bytes(2, "big") + bytes((context_id, 0, 0, 0)) + inner


ABSTRACT, TRANSFER = b"\x30\0\0\x051.2.3", b"\x40\0\0\x061.2.40"
GOOD = context(1, ABSTRACT + TRANSFER)


BROKEN = {
    "shorter than its fixed fields": FIXED[:-1],
    "no presentation context": FIXED,
    "an item header cut short": FIXED + GOOD + b"\x50\0",
    "an item longer than the PDU": FIXED + GOOD + b"\x50\0\xff\xff",
    "an even context ID": FIXED + context(2, ABSTRACT + TRANSFER),
    "a context ID twice": FIXED + GOOD + GOOD,
    "a context without transfer syntax": FIXED + context(1, ABSTRACT),
    "a context without abstract syntax": FIXED + context(1, TRANSFER),
    "an abstract syntax longer than its context": FIXED + context(1, b"\x30\0\0\xff1.2"),
    "a maximum length of three bytes": FIXED + GOOD + b"\x50\0\0\7\x51\0\0\3\0\0\1",
    "a role without roles": FIXED + GOOD + b"\x50\0\0\x0a\x54\0\0\6\0\4" + b"1.2.",
    "a UID longer than its item": FIXED + GOOD + b"\x50\0\0\6\x56\0\0\2\0\x40",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_broken_request_is_refused(body):
    with pytest.raises(InvalidPdu):
        decode_associate_request(body)


def test_unknown_items_are_skipped():
    read = decode_associate_request(FIXED + b"\x99\0\0\2ab" + GOOD)

    assert [c.context_id for c in read.contexts] == [1]
