"""Who may call and what they may send."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.sop_class import _STORAGE_CLASSES

from gateway.config import Intake, Peer
from gateway.intake.dimse import Command, CommandField, Status
from gateway.intake.pdu import (
    AssociateRequest,
    ContextResult,
    Negotiated,
    ProposedContext,
    Role,
)
from gateway.intake.rules import (
    STORAGE_CLASSES,
    STORAGE_INFORMATION,
    TRANSFER_SYNTAXES,
    VERDICTS,
    VERIFICATION,
    WITHOUT_PIXELS,
    Admission,
    Refusal,
    accepted_contexts,
    first_status,
)
from gateway.line.custody import VerdictKind

CT, IMPLICIT, EXPLICIT = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
J2K, JPIP = b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.94"
HERE = ip_address("192.0.2.7")
MODALITY = Peer(name="ct1", ae_title="CT1")
SITE = Intake(peers=(MODALITY,))


def a_request(*contexts, **changes):
    proposed = tuple(
        ProposedContext(2 * number + 1, abstract, tuple(transfers))
        for number, (abstract, *transfers) in enumerate(contexts or [(CT, IMPLICIT)])
    )
    request = AssociateRequest(1, "RADFED", "CT1", b"1.2.840.10008.3.1.1.1", proposed)
    return replace(request, **changes)


def results(negotiated: Negotiated):
    return [(c.result, c.transfer_syntax) for c in negotiated.contexts]


def test_a_named_peer_may_call():
    assert Admission(SITE).caller(a_request(), HERE) is MODALITY


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"called_ae": "OTHER"}, Refusal.CALLED_AE),
        ({"called_ae": "radfed"}, Refusal.CALLED_AE),
        ({"calling_ae": "CT2"}, Refusal.CALLING_AE),
        ({"calling_ae": ""}, Refusal.CALLING_AE),
        ({"application_context": b"1.2.3"}, Refusal.APPLICATION_CONTEXT),
        ({"protocol_version": 2}, Refusal.PROTOCOL_VERSION),
    ],
)
def test_a_stranger_is_refused_with_the_reason(change, refusal):
    assert Admission(SITE).caller(a_request(**change), HERE) == refusal


def test_nobody_may_call_until_the_site_names_somebody():
    assert Admission(Intake()).caller(a_request(), HERE) == Refusal.CALLING_AE


def test_only_bit_0_of_the_protocol_version_counts():
    assert Admission(SITE).caller(a_request(protocol_version=3), HERE) is MODALITY


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("198.51.100.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
    ],
)
def test_a_peer_calls_from_its_own_addresses(address, known):
    bound = MODALITY.model_copy(
        update={"addresses": (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))}
    )
    admission = Admission(Intake(peers=(bound,)))

    answer = admission.caller(a_request(), ip_address(address))

    assert answer == (bound if known else Refusal.CALLING_AE)


def test_two_peers_may_share_a_title_from_two_addresses():
    first = MODALITY.model_copy(update={"addresses": (ip_network("192.0.2.1/32"),)})
    second = MODALITY.model_copy(update={"name": "ct2", "addresses": (ip_network("192.0.2.7/32"),)})

    assert Admission(Intake(peers=(first, second))).caller(a_request(), HERE) is second


def test_every_storage_class_is_taken_in_every_syntax_that_carries_pixels():
    syntaxes = {uid.encode() for uid in ALL_TRANSFER_SYNTAXES}

    assert {uid.encode() for uid in _STORAGE_CLASSES.values()} == STORAGE_CLASSES
    assert syntaxes == TRANSFER_SYNTAXES | WITHOUT_PIXELS
    for sop_class in STORAGE_CLASSES:
        negotiated = Admission(SITE).negotiate(
            a_request(*((sop_class, syntax) for syntax in sorted(TRANSFER_SYNTAXES))), MODALITY
        )
        assert {c.result for c in negotiated.contexts} == {ContextResult.ACCEPTANCE}


@pytest.mark.parametrize("syntax", sorted(WITHOUT_PIXELS))
def test_syntaxes_without_pixels_are_refused(syntax):
    negotiated = Admission(SITE).negotiate(a_request((CT, syntax)), MODALITY)

    assert results(negotiated) == [(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, syntax)]


def test_the_sender_s_first_wish_is_granted_in_each_of_its_contexts():
    request = a_request((CT, JPIP, J2K, IMPLICIT), (CT, EXPLICIT, IMPLICIT), (VERIFICATION, J2K))

    negotiated = Admission(SITE).negotiate(request, MODALITY)

    assert results(negotiated) == [
        (ContextResult.ACCEPTANCE, J2K),
        (ContextResult.ACCEPTANCE, EXPLICIT),
        (ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, J2K),
    ]
    assert accepted_contexts(request, negotiated) == {
        1: (CT.decode(), J2K.decode()),
        3: (CT.decode(), EXPLICIT.decode()),
    }


@pytest.mark.parametrize("sop_class", [b"1.2.840.10008.1.20.1", b"1.2.840.10008.5.1.4.1.2.1.1"])
def test_commitment_and_queries_are_not_served(sop_class):
    negotiated = Admission(SITE).negotiate(a_request((sop_class, IMPLICIT)), MODALITY)

    assert results(negotiated) == [(ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT)]


def test_a_peer_that_may_not_store_may_still_echo():
    silent = MODALITY.model_copy(update={"may_store": False})

    negotiated = Admission(SITE).negotiate(
        a_request((VERIFICATION, IMPLICIT), (CT, IMPLICIT)), silent
    )

    assert [result for result, _ in results(negotiated)] == [
        ContextResult.ACCEPTANCE,
        ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ]


def test_private_classes_and_syntaxes_are_taken_where_the_site_names_them():
    site = Intake(
        peers=(MODALITY,), private_sop_classes=("1.2.3.4",), private_transfer_syntaxes=("1.2.3.5",)
    )
    request = a_request((b"1.2.3.4", IMPLICIT), (CT, b"1.2.3.5"))

    negotiated = Admission(site).negotiate(request, MODALITY)

    assert {result for result, _ in results(negotiated)} == {ContextResult.ACCEPTANCE}
    assert ContextResult.ACCEPTANCE not in {
        result for result, _ in results(Admission(SITE).negotiate(request, MODALITY))
    }


@pytest.mark.parametrize(
    ("proposed", "answered", "result"),
    [
        (Role(scu=True, scp=False), Role(scu=True, scp=False), ContextResult.ACCEPTANCE),
        (Role(scu=True, scp=True), Role(scu=True, scp=False), ContextResult.ACCEPTANCE),
        (Role(scu=False, scp=True), Role(scu=False, scp=False), ContextResult.USER_REJECTION),
    ],
)
def test_a_requestor_may_be_the_scu_only(proposed, answered, result):
    negotiated = Admission(SITE).negotiate(
        a_request(roles={CT: proposed, b"1.2.3": proposed}), MODALITY
    )

    assert negotiated.roles == {CT: answered}
    assert results(negotiated)[0][0] is result


def test_storage_says_that_it_coerces_and_keeps_level_0():
    asked = {CT: b"\3\0\0\0\2\0", VERIFICATION: b"\0", b"1.2.3": b"\0"}

    negotiated = Admission(SITE).negotiate(a_request(extended=asked), MODALITY)

    assert negotiated.extended == {CT: STORAGE_INFORMATION}
    assert (STORAGE_INFORMATION[0], STORAGE_INFORMATION[4]) == (0, 1)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_asynchronous_operations_are_answered_only_when_asked_for(asynchronous):
    negotiated = Admission(SITE).negotiate(a_request(asynchronous=asynchronous), MODALITY)

    assert negotiated.asynchronous is asynchronous


def command(field=CommandField.C_STORE, sop_class=CT, instance=b"1.2.3", *, has_dataset=True):
    return Command(field, 1, sop_class, instance, has_dataset)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (command(), Status.SUCCESS),
        (command(sop_class=b"1.2.840.10008.5.1.4.1.1.4"), Status.SOP_CLASS_NOT_SUPPORTED),
        (command(instance=b"../../etc"), Status.INVALID_SOP_INSTANCE),
        (command(instance=b""), Status.INVALID_SOP_INSTANCE),
        (command(has_dataset=False), Status.CANNOT_UNDERSTAND),
        (command(CommandField.C_ECHO), Status.SOP_CLASS_NOT_SUPPORTED),
        (command(CommandField.N_ACTION), Status.UNRECOGNIZED_OPERATION),
        (command(CommandField.C_FIND), Status.UNRECOGNIZED_OPERATION),
        (command(0x0666), Status.UNRECOGNIZED_OPERATION),
    ],
)
def test_a_command_is_judged_before_its_dataset(request_, status):
    assert first_status(request_, CT.decode()) is status


def test_an_echo_is_judged_by_its_own_context():
    echo = command(CommandField.C_ECHO, VERIFICATION, b"", has_dataset=False)

    assert first_status(echo, VERIFICATION.decode()) is Status.SUCCESS
    assert (
        first_status(command(sop_class=VERIFICATION), VERIFICATION.decode())
        is Status.SOP_CLASS_NOT_SUPPORTED
    )


def test_every_verdict_has_a_status():
    assert set(VERDICTS) == {kind.value for kind in VerdictKind}
