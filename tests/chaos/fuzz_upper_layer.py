"""`python -m tests.chaos.fuzz_upper_layer [libFuzzer options]`: atheris against the upper layer."""

import sys
from ipaddress import ip_address

from gateway.config import Intake
from gateway.intake.dimse import BadMessage, MessageReader
from gateway.intake.pdu import AssociateRequest, Rejection
from gateway.intake.rules import Admission
from gateway.intake.states import State
from gateway.intake.upper_layer import Acceptor, Event, Fragment, ReleaseRequested
from tests.fakes.receiver import PEERS

ADMISSION = Admission(Intake(peers=PEERS))
OUTGOING_AT_MOST = 1 << 16


def try_one(stream: bytes) -> None:
    """Whatever comes, it ends in an answer, an abort, or a wait for more."""
    acceptor, messages = Acceptor(16384), MessageReader()
    view = memoryview(stream)
    for piece in (view[: len(view) // 2], view[len(view) // 2 :]):
        for event in acceptor.receive(piece):
            _converse(acceptor, messages, event)
    acceptor.connection_closed()
    assert acceptor.state is State.IDLE
    assert len(acceptor.outgoing()) < OUTGOING_AT_MOST


def _converse(acceptor: Acceptor, messages: MessageReader, event: Event) -> None:
    if isinstance(event, AssociateRequest):
        peer = ADMISSION.caller(event, ip_address("127.0.0.1"))
        if isinstance(peer, Rejection):
            acceptor.reject(peer)
        else:
            acceptor.accept(ADMISSION.negotiate(event, peer), event.max_length)
    elif isinstance(event, ReleaseRequested):
        acceptor.release()
    elif isinstance(event, Fragment):
        try:
            if event.is_command:
                messages.command_fragment(event.context_id, event.data, last=event.last)
            else:
                messages.dataset_fragment(event.context_id, last=event.last)
        except BadMessage:
            acceptor.abort()


def main() -> None:
    try:
        import atheris
    except ImportError:
        print("atheris is not installed (pip install atheris): nothing was tried")
        return
    atheris.instrument_all()
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
