"""The upper layer, driven without a socket."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from gateway.intake.pdu import (
    AbortReason,
    AbortSource,
    AnsweredContext,
    ContextResult,
    Negotiated,
    Rejection,
    encode_abort,
    encode_associate_reject,
    encode_data,
    encode_release_response,
)
from gateway.intake.states import NEXT, TABLE, Happening, IllegalMove, State
from gateway.intake.upper_layer import Aborted, Acceptor, Fragment, ReleaseRequested

CONTEXT = b"\x20\0\0\x17\1\0\0\0\x30\0\0\x051.2.3\x40\0\0\x061.2.40"
BODY = b"\0\1\0\0" + b"RADFED".ljust(16) + b"STORESCU".ljust(16) + bytes(32) + CONTEXT
REQUEST = b"\1\0" + len(BODY).to_bytes(4, "big") + BODY
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"
ABORT = b"\7\0\0\0\0\4\0\0\2\6"
ANSWER = Negotiated(
    (AnsweredContext(1, ContextResult.ACCEPTANCE, b"1.2.40"),), 16384, b"1.2.3", b"RADFED"
)
ACCEPTOR_STATES = set(State) - {State.IDLE}


def feed(acceptor, data):
    return list(acceptor.receive(memoryview(data)))


def awaiting(_):
    return Acceptor(16384)


def asked(_=None):
    acceptor = Acceptor(16384)
    feed(acceptor, REQUEST)
    return acceptor


def established(peer_max_length=0):
    acceptor = asked()
    acceptor.accept(ANSWER, peer_max_length)
    acceptor.outgoing()
    return acceptor


def releasing(_=None):
    acceptor = established()
    feed(acceptor, RELEASE)
    return acceptor


def test_every_transition_is_the_standard_s_as_pynetdicom_transcribed_it():
    known = {event.value for event in Happening}
    theirs = {
        (event, state): action
        for (event, state), action in TRANSITION_TABLE.items()
        if state in {s.value for s in ACCEPTOR_STATES} and event in known
    }

    ours = {
        (event.value, state.value): action.value
        for (event, state), action in TABLE.items()
        if state in ACCEPTOR_STATES
    }

    assert ours == theirs


def test_every_action_leads_where_the_standard_says():
    for action, state in NEXT.items():
        theirs = ACTIONS[action.value][2]
        assert state.value in (theirs if isinstance(theirs, tuple) else (theirs,))


def test_a_request_is_answered_and_data_flows():
    acceptor = Acceptor(16384)

    (request,) = feed(acceptor, REQUEST)
    acceptor.accept(ANSWER, request.max_length)
    events = feed(acceptor, encode_data(1, 3, b"command") + encode_data(1, 2, b"dataset"))

    assert request.calling_ae == "STORESCU"
    assert acceptor.outgoing()[:1] == b"\2"
    assert [(f.is_command, f.last, bytes(f.data)) for f in events] == [
        (True, True, b"command"),
        (False, True, b"dataset"),
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), min_size=1, max_size=4),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_data_is_the_same_however_the_network_cuts_it(pdus, data):
    stream = b""
    for values in pdus:
        body = b"".join(
            (2 + len(value)).to_bytes(4, "big") + bytes((1, control)) + value
            for control, value in values
        )
        stream += b"\4\0" + len(body).to_bytes(4, "big") + body
    acceptor = established()

    got, at = [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 50))
        got += [(*f[:3], bytes(f.data)) for f in feed(acceptor, stream[at : at + size])]
        at += size

    sent = [value for values in pdus for value in values]
    assert b"".join(piece for *_, piece in got) == b"".join(value for _, value in sent)
    assert sum(last for _, _, last, _ in got) == sum(control >> 1 for control, _ in sent)
    assert acceptor.state is State.ESTABLISHED


def test_dataset_bytes_are_views_of_the_buffer_they_came_in():
    acceptor = established()
    buffer = bytearray(encode_data(1, 0, b"pixels"))

    (fragment,) = acceptor.receive(memoryview(buffer))

    assert isinstance(fragment, Fragment)
    assert fragment.data.obj is buffer


def test_the_last_flag_waits_for_the_end_of_its_value():
    acceptor = established()
    pdu = encode_data(1, 2, b"dataset")

    first, second = feed(acceptor, pdu[:15]), feed(acceptor, pdu[15:])

    assert [f.last for f in first + second] == [False, True]


def test_an_empty_value_is_a_fragment_too():
    (fragment,) = feed(established(), encode_data(1, 2, b""))

    assert fragment.last
    assert not fragment.data


def test_a_release_is_indicated_and_answered():
    acceptor = established()

    assert feed(acceptor, RELEASE) == [ReleaseRequested()]
    acceptor.release()

    assert acceptor.outgoing() == encode_release_response()
    assert acceptor.state is State.AWAITING_CLOSE


def test_what_comes_after_the_end_is_ignored():
    acceptor = releasing()
    acceptor.release()
    acceptor.outgoing()

    assert feed(acceptor, encode_data(1, 3, b"late") + RELEASE) == []

    assert acceptor.outgoing() == b""
    assert acceptor.state is State.AWAITING_CLOSE


def test_a_request_after_the_end_is_answered_with_an_abort():
    acceptor = asked()
    acceptor.reject(Rejection(1, 1, 3))
    assert acceptor.outgoing() == encode_associate_reject(Rejection(1, 1, 3))

    feed(acceptor, REQUEST)

    assert acceptor.outgoing()[0] == 7


def test_a_peer_s_abort_ends_it_at_once():
    acceptor = established()

    (aborted,) = feed(acceptor, ABORT + REQUEST)

    assert aborted == Aborted(by_peer=True, source=2, reason=6, why="the peer aborted")
    assert acceptor.state is State.IDLE
    assert acceptor.outgoing() == b""


PDATA = encode_data(1, 3, b"x")


FORBIDDEN = {
    "unknown type": (established, b"\x09\0\0\0\0\4\0\0\0\0", AbortReason.UNRECOGNIZED_PDU),
    "second request": (established, REQUEST, AbortReason.UNEXPECTED_PDU),
    "acceptance": (established, b"\2\0\0\0\0\4", AbortReason.UNEXPECTED_PDU),
    "rejection": (established, b"\3\0\0\0\0\4", AbortReason.UNEXPECTED_PDU),
    "release response": (established, b"\6\0\0\0\0\4", AbortReason.UNEXPECTED_PDU),
    "data after release": (releasing, PDATA, AbortReason.UNEXPECTED_PDU),
    "release too long": (established, b"\5\0\0\0\0\5", AbortReason.INVALID_PARAMETER),
    "abort too long": (established, b"\7\0\0\1\0\0", AbortReason.INVALID_PARAMETER),
    "data longer than agreed": (established, b"\4\0\0\0\x40\1", AbortReason.INVALID_PARAMETER),
    "data without a value": (established, b"\4\0\0\0\0\0", AbortReason.INVALID_PARAMETER),
    "a value longer than its PDU": (
        established,
        b"\4\0\0\0\0\x08\0\0\0\x09\1\3aa",
        AbortReason.INVALID_PARAMETER,
    ),
    "a value shorter than its header": (
        established,
        b"\4\0\0\0\0\6\0\0\0\1\1\3",
        AbortReason.INVALID_PARAMETER,
    ),
    "bytes after the last value": (
        established,
        b"\4\0\0\0\0\x09\0\0\0\2\1\3aaa",
        AbortReason.INVALID_PARAMETER,
    ),
    "a context not accepted": (
        established,
        encode_data(3, 3, b"x"),
        AbortReason.INVALID_PARAMETER,
    ),
}


@pytest.mark.parametrize(("made", "sent", "reason"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_the_standard_forbids_is_aborted_with_its_reason(made, sent, reason):
    acceptor = made()

    (aborted,) = feed(acceptor, sent + PDATA)

    assert (aborted.by_peer, aborted.source, aborted.reason) == (False, 2, reason)
    assert acceptor.outgoing() == encode_abort(AbortSource.SERVICE_PROVIDER, reason)
    assert acceptor.state is State.AWAITING_CLOSE
    assert feed(acceptor, REQUEST) == []


@pytest.mark.parametrize(
    "sent",
    [PDATA, RELEASE, b"\2\0\0\0\0\4", b"\x16\3\1\2\0\1", b"GET / HTTP/1.1\r\n", b"\1\0\0\0\0\1"],
)
def test_before_an_association_a_fault_is_aborted_as_the_service_user(sent):
    acceptor = Acceptor(16384)

    (aborted,) = feed(acceptor, sent)

    assert aborted.source == AbortSource.SERVICE_USER
    assert acceptor.outgoing() == encode_abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)


def test_a_request_too_long_to_be_one_is_refused_by_its_header():
    (aborted,) = feed(Acceptor(16384), b"\1\0\xff\xff\xff\xff")

    assert not aborted.by_peer


def test_a_broken_request_is_aborted():
    broken = REQUEST[:74] + b"\xff" * (len(REQUEST) - 74)

    (aborted,) = feed(Acceptor(16384), broken)

    assert not aborted.by_peer


@pytest.mark.parametrize("peer_max_length", [0, 6, 8, 20, 100, 16384])
def test_a_response_fits_what_the_peer_can_take(peer_max_length):
    acceptor, reader = established(peer_max_length), established()

    acceptor.send_command(1, bytes(range(150)))
    sent = acceptor.outgoing()
    fragments = feed(reader, sent)

    assert b"".join(bytes(f.data) for f in fragments) == bytes(range(150))
    assert [f.last for f in fragments] == [False] * (len(fragments) - 1) + [True]
    longest = max(int.from_bytes(sent[at + 2 : at + 6], "big") for at in pdu_starts(sent))
    assert not peer_max_length or longest <= max(peer_max_length, 8)


def pdu_starts(stream):
    at = 0
    while at < len(stream):
        yield at
        at += 6 + int.from_bytes(stream[at + 2 : at + 6], "big")


@pytest.mark.parametrize(
    ("made", "ask"),
    [
        (awaiting, lambda a: a.accept(ANSWER, 0)),
        (awaiting, lambda a: a.abort()),
        (established, lambda a: a.release()),
        (established, lambda a: a.reject(Rejection(1, 1, 1))),
        (asked, lambda a: a.send_command(1, b"xx")),
        (established, lambda a: a.timer_expired()),
    ],
)
def test_our_own_side_cannot_do_what_the_state_forbids(made, ask):
    with pytest.raises(IllegalMove):
        ask(made(0))


@pytest.mark.parametrize("made", [awaiting, asked, established, releasing])
def test_a_closed_connection_ends_every_state(made):
    acceptor = made(0)

    acceptor.connection_closed()

    assert acceptor.over
    assert acceptor.state is State.IDLE
    assert feed(acceptor, REQUEST) == []


def test_the_timer_ends_a_wait_without_a_word():
    acceptor = Acceptor(16384)

    acceptor.timer_expired()

    assert acceptor.state is State.IDLE
    assert acceptor.outgoing() == b""
