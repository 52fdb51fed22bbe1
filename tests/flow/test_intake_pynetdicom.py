"""The door as pynetdicom finds it: what dcmtk's tools cannot be made to say."""

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    Verification,
)

from gateway.config import Peer
from gateway.errors import ConfigurationFault, PeerUnreachable
from gateway.intake.echo import echo
from tests.fakes.custody import FakeCustody
from tests.fakes.receiver import a_receiver

pytestmark = pytest.mark.flow


def a_ct():
    return dcmread(get_testdata_file("CT_small.dcm"))


def associate(door, *contexts, negotiation=(), ae_title="PYNETDICOM", max_pdu=16382):
    ae = AE(ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    for context in contexts:
        ae.add_requested_context(*context)
    return ae.associate(
        "127.0.0.1",
        door.port,
        ae_title="RADFED",
        ext_neg=list(negotiation),
        max_pdu=max_pdu,
    )


@pytest.mark.parametrize("max_pdu", [4096, 16384, 1 << 20])
def test_a_dataset_arrives_whole_whatever_the_longest_pdu(max_pdu):
    custody, sent = FakeCustody(), a_ct()
    sent.PixelData = bytes(range(256)) * 4096

    with a_receiver(custody, max_pdu_bytes=max_pdu) as door:
        association = associate(door, (CTImageStorage, sent.file_meta.TransferSyntaxUID))
        statuses = [association.send_c_store(sent).Status for _ in range(3)]
        association.release()

    assert statuses == [0, 0, 0]
    assert {len(held.dataset) for held in custody.held} == {len(custody.held[0].dataset)}
    assert sent.PixelData in custody.held[0].dataset


def test_one_hundred_contexts_with_every_syntax_are_answered():
    custody = FakeCustody()
    contexts = [
        (context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        for context in AllStoragePresentationContexts[:99]
    ]

    with a_receiver(custody) as door:
        association = associate(door, *contexts, (Verification,))
        accepted = association.accepted_contexts
        status = association.send_c_echo().Status
        association.release()

    assert len(accepted) == 100
    assert {context.transfer_syntax[0] for context in accepted} == {ALL_TRANSFER_SYNTAXES[0]}
    assert status == 0


def test_several_contexts_of_one_class_each_get_their_syntax():
    syntaxes = ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.94"]

    with a_receiver(FakeCustody()) as door:
        association = associate(door, *[(CTImageStorage, syntax) for syntax in syntaxes])
        accepted = [context.transfer_syntax[0] for context in association.accepted_contexts]
        association.release()

    assert accepted == syntaxes[:2]


def test_asynchronous_operations_identity_and_extended_negotiation_are_answered_rightly():
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 8
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 1, b"somebody"
    identity.positive_response_requested = True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = CTImageStorage
    extended.service_class_application_information = b"\3\0\0\0\2\0"

    with a_receiver(FakeCustody()) as door:
        association = associate(door, (CTImageStorage,), negotiation=[window, identity, extended])
        answered = association.acceptor.user_information
        association.release()

    windows = [i for i in answered if isinstance(i, AsynchronousOperationsWindowNegotiation)]
    assert [
        (w.maximum_number_operations_invoked, w.maximum_number_operations_performed)
        for w in windows
    ] == [(1, 1)]
    assert [
        i.service_class_application_information
        for i in answered
        if isinstance(i, SOPClassExtendedNegotiation)
    ] == [b"\0\0\0\0\1\0"]
    assert association.acceptor.user_identity is None


def test_a_requestor_that_wants_to_be_the_scp_is_refused_that_context():
    roles = [build_role(CTImageStorage, scp_role=True)]

    with a_receiver(FakeCustody()) as door:
        association = associate(door, (CTImageStorage,), (Verification,), negotiation=roles)
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        association.release()

    assert accepted == [Verification]


def test_storage_commitment_and_queries_are_not_accepted():
    with a_receiver(FakeCustody()) as door:
        association = associate(
            door,
            (StorageCommitmentPushModel,),
            (PatientRootQueryRetrieveInformationModelFind,),
            (Verification,),
        )
        rejected = {context.abstract_syntax for context in association.rejected_contexts}
        association.release()

    assert rejected == {StorageCommitmentPushModel, PatientRootQueryRetrieveInformationModelFind}


def test_an_action_that_comes_astray_is_refused_with_a_status():
    with a_receiver(FakeCustody()) as door:
        association = associate(door, (CTImageStorage,))
        (context,) = association.accepted_contexts
        action = Dataset()
        action.TransactionUID = "1.2.3"
        status, _ = association.send_n_action(
            action, 1, StorageCommitmentPushModel, "1.2.3", meta_uid=context.abstract_syntax
        )
        still = association.is_established
        association.release()

    assert status.Status == 0x0211
    assert still


def test_a_store_under_another_class_than_negotiated_is_refused():
    custody, sent = FakeCustody(), a_ct()

    with a_receiver(custody) as door:
        association = associate(door, (CTImageStorage, sent.file_meta.TransferSyntaxUID))
        association._accepted_cx[1].abstract_syntax = "1.2.840.10008.5.1.4.1.1.4"
        sent.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        status = association.send_c_store(sent)
        association.release()

    assert status.Status == 0x0122
    assert not custody.held


def test_an_echo_of_ours_is_answered():
    with a_receiver(FakeCustody()) as door:
        peer = Peer(name="pacs", ae_title="RADFED", host="127.0.0.1", port=door.port)
        result = echo(peer, "PYNETDICOM", 5)

    assert result.status == 0
    assert result.seconds < 5


def test_an_echo_says_how_far_it_came():
    with a_receiver(FakeCustody()) as door:
        peer = Peer(name="pacs", ae_title="ELSEWHERE", host="127.0.0.1", port=door.port)
        with pytest.raises(PeerUnreachable, match=r"ELSEWHERE.*rejected.*Called AE"):
            echo(peer, "PYNETDICOM", 5)
    with pytest.raises(PeerUnreachable, match="cannot be reached"):
        echo(peer, "PYNETDICOM", 5)
    with pytest.raises(ConfigurationFault, match="host and port"):
        echo(Peer(name="pacs", ae_title="PACS"), "PYNETDICOM", 5)
