"""Storage commitment, decided: reasons, answers, pauses, and what a request may look like."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.config import Intake, Peer
from gateway.intake.commitment import (
    BadRequest,
    CommitmentRequest,
    EventType,
    FailureReason,
    Reference,
    Report,
    event_information,
    read_request,
    write_report,
)
from gateway.intake.commitment_rules import (
    RETRY_SECONDS,
    Answer,
    Copy,
    Finding,
    judge,
    meaning,
    pause,
)
from gateway.intake.dimse import Command, CommandField, Status
from gateway.intake.pdu import AssociateRequest, ContextResult, ProposedContext, Role
from gateway.intake.rules import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    Admission,
    bears_out,
    first_status,
)
from gateway.line.encoding import encode, parse, syntax_of
from gateway.model import RealUID

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NO = FailureReason
UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(
    lambda parts: ".".join(map(str, parts))
)


def found(copy=Copy.SOUND, sop_class=CT, *, unsettled=False, quarantined=False):
    return Finding(copy, sop_class, unsettled, quarantined)


@pytest.mark.parametrize(
    ("finding", "taken", "reason"),
    [
        (found(), True, None),
        (found(sop_class=MR), True, NO.CLASS_INSTANCE_CONFLICT),
        (found(Copy.DOUBTFUL), True, NO.PROCESSING_FAILURE),
        (found(Copy.ABSENT), True, NO.NO_SUCH_OBJECT_INSTANCE),
        (found(Copy.ABSENT), False, NO.SOP_CLASS_NOT_SUPPORTED),
        (found(quarantined=True), True, NO.PROCESSING_FAILURE),
        (found(Copy.ABSENT, quarantined=True), True, NO.PROCESSING_FAILURE),
        (found(unsettled=True), True, NO.PROCESSING_FAILURE),
    ],
)
def test_only_a_sound_copy_of_the_named_class_is_committed(finding, taken, reason):
    assert judge(finding, CT, class_taken=taken) is reason


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, Answer.DELIVERED),
        (0x0107, Answer.DELIVERED),
        (0x0110, Answer.AGAIN),
        (0x0213, Answer.AGAIN),
        (0x0112, Answer.REFUSED),
        (0x0211, Answer.REFUSED),
    ],
)
def test_a_failure_that_may_pass_is_met_again(status, answer):
    assert meaning(status) is answer


def test_pauses_double_up_to_an_hour():
    pauses = [pause(attempts) for attempts in range(1, 60)]

    assert pauses[:3] == [5.0, 10.0, 20.0]
    assert max(pauses) == RETRY_SECONDS[1] == pauses[-1]


@given(UIDS, st.lists(UIDS, min_size=1, max_size=5), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_a_request_reads_as_it_was_written(transaction, instances, syntax):
    dataset = Dataset()
    dataset.TransactionUID = transaction
    dataset.ReferencedSOPSequence = [item(CT, uid) for uid in instances]

    read = read_request(encode(dataset, syntax_of(syntax).encoding), syntax)

    assert read.transaction == transaction
    assert read.references == tuple(Reference(CT, RealUID(uid)) for uid in instances)


def item(sop_class, instance):
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, instance
    return made


@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_whatever_comes_is_a_request_or_is_none(raw, syntax):
    with suppress(BadRequest):
        assert read_request(raw, syntax).references


@given(st.lists(st.sampled_from([None, *FailureReason]), min_size=1, max_size=6))
def test_a_report_names_every_instance_once(outcomes):
    references = tuple(Reference(CT, RealUID(f"1.2.{n}")) for n in range(len(outcomes)))
    failures = {place: reason for place, reason in enumerate(outcomes) if reason is not None}
    report = Report(1, "ct", CommitmentRequest("1.2.9", references), failures)

    told = parse(write_report(report, IMPLICIT), syntax_of(IMPLICIT).encoding)

    good = [str(i.ReferencedSOPInstanceUID) for i in told.get("ReferencedSOPSequence", [])]
    bad = {
        str(i.ReferencedSOPInstanceUID): i.FailureReason for i in told.get("FailedSOPSequence", [])
    }
    assert good == [r.instance for n, r in enumerate(references) if n not in failures]
    assert bad == {references[n].instance: int(reason) for n, reason in failures.items()}
    assert report.event_type is (EventType.FAILURES_EXIST if failures else EventType.SUCCESSFUL)
    assert "RetrieveAETitle" not in event_information(report)


def an_action(**changes):
    fields = {
        "field": CommandField.N_ACTION,
        "message_id": 1,
        "sop_class": COMMITMENT,
        "sop_instance": COMMITMENT_INSTANCE,
        "has_dataset": True,
        "action_type": 1,
    }
    return Command(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.SUCCESS),
        ({"field": CommandField.C_STORE}, Status.UNRECOGNIZED_OPERATION),
        ({"field": CommandField.C_ECHO}, Status.UNRECOGNIZED_OPERATION),
        ({"sop_class": CT.encode()}, Status.SOP_CLASS_NOT_SUPPORTED),
        ({"sop_instance": b"1.2.3"}, Status.NO_SUCH_SOP_INSTANCE),
        ({"action_type": 2}, Status.NO_SUCH_ACTION),
        ({"action_type": None}, Status.NO_SUCH_ACTION),
        ({"has_dataset": False}, Status.INVALID_ARGUMENT_VALUE),
    ],
)
def test_an_action_is_judged_by_its_command_first(changes, status):
    assert first_status(an_action(**changes), COMMITMENT.decode()) is status


@pytest.mark.parametrize(
    ("granted", "result"),
    [(False, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED), (True, ContextResult.ACCEPTANCE)],
)
@pytest.mark.parametrize("may_store", [True, False])
def test_commitment_is_negotiated_for_whom_it_was_granted(granted, may_store, result):
    peer = Peer(
        name="ct", ae_title="CT1", host="ct1", port=104, commitment=granted, may_store=may_store
    )
    context = ProposedContext(1, COMMITMENT, (IMPLICIT.encode(),))
    request = AssociateRequest(
        1, "RADFED", "CT1", b"", (context,), roles={COMMITMENT: Role(scu=True, scp=True)}
    )

    negotiated = Admission(Intake(peers=(peer,))).negotiate(request, peer)

    assert negotiated.contexts[0].result is result
    assert negotiated.roles.get(COMMITMENT) == (Role(scu=True, scp=False) if granted else None)
    assert not Admission(Intake()).would_store(request, peer)


@pytest.mark.parametrize(
    ("pins", "shown", "borne_out"),
    [((), None, True), (("a" * 64,), "a" * 64, True), (("a" * 64,), "b" * 64, False),
     (("a" * 64,), None, False), (("a" * 64, "b" * 64), "b" * 64, True)],
)  # fmt: skip
def test_a_pinned_peer_is_who_shows_its_certificate(pins, shown, borne_out):
    peer = Peer(name="ct", ae_title="CT1", certificate_sha256=pins)

    assert bears_out(peer, shown) is borne_out
