"""`python -m tests.chaos.fuzz_upper_layer [libFuzzer options]`: atheris against the upper layer."""

from ipaddress import ip_address

from gateway.config import Intake
from gateway.intake.dimse import BadMessage, MessageReader, encode_response
from gateway.intake.pdu import AssociateRequest, Rejection
from gateway.intake.rules import Admission, accepted_contexts, first_status
from gateway.intake.states import State
from gateway.intake.upper_layer import Acceptor, Event, Fragment, ReleaseRequested
from tests.chaos.fuzzing import fuzz
from tests.fakes.raw_scu import RELEASE, a_request, a_store, an_echo, data, pdu
from tests.fakes.receiver import PEERS

ADMISSION = Admission(Intake(peers=PEERS))
OUTGOING_AT_MOST = 1 << 16
ASSOCIATED = 1  # bit of the first byte: the rest follows an association that was accepted
HONEST = data(3, 3, an_echo()) + data(1, 1, a_store()[:50]) + data(1, 3, a_store()[50:])
WORDS = (
    b"\0\0\0\0\4\0\0\0", b"\0\0\0\1\2\0\0\0", b"1.2.840.10008.1.1", b"\x30\0", b"\1\1", b"\2\1",
    b"\0\0\0\x08\2\0\0\0", b"\x54\0", b"\x56\0", b"\x58\0", b"\4\0\0\0", b"\0\0\0\x10",
)  # fmt: skip


def seeds() -> tuple[bytes, ...]:
    """Begin with honest conversations, whole and behind an association."""
    return (
        b"\0\x40" + a_request() + HONEST + RELEASE,
        b"\1\x80" + HONEST + data(1, 0, b"y" * 300) + data(1, 2, b"") + RELEASE,
        b"\1\x10" + data(1, 3, a_store()) + pdu(7, b"\0\0\0\0"),
        b"\1\x08" + pdu(4, data(1, 3, a_store())[6:] + data(1, 2, b"whole")[6:]) + RELEASE,
    )


class Conversation:
    """What an association does with its events, without a socket or custody."""

    def __init__(self) -> None:
        self.acceptor = Acceptor(16384)
        self._messages = MessageReader()
        self._contexts: dict[int, tuple[str, str]] = {}

    def hear(self, piece: memoryview) -> None:
        for event in self.acceptor.receive(piece):
            self._act(event)

    def _act(self, event: Event) -> None:
        if isinstance(event, AssociateRequest):
            self._answer(event)
        elif isinstance(event, ReleaseRequested):
            self.acceptor.release()
        elif isinstance(event, Fragment):
            try:
                self._take(event)
            except BadMessage:
                self.acceptor.abort()

    def _answer(self, request: AssociateRequest) -> None:
        peer = ADMISSION.caller(request, ip_address("127.0.0.1"))
        if isinstance(peer, Rejection):
            self.acceptor.reject(peer)
            return
        negotiated = ADMISSION.negotiate(request, peer)
        self.acceptor.accept(negotiated, request.max_length)
        self._contexts = accepted_contexts(request, negotiated)

    def _take(self, fragment: Fragment) -> None:
        if not fragment.is_command:
            self._messages.dataset_fragment(fragment.context_id, last=fragment.last)
            return
        command = self._messages.command_fragment(
            fragment.context_id, fragment.data, last=fragment.last
        )
        if command is not None and hasattr(command, "sop_class"):
            abstract_syntax, _ = self._contexts[fragment.context_id]
            status = first_status(command, abstract_syntax)
            self.acceptor.send_command(
                fragment.context_id, encode_response(command, status, "a comment")
            )
            self.acceptor.outgoing()


def try_one(stream: bytes) -> None:
    """Whatever comes, it ends in an answer, an abort, or a wait for more."""
    talk = Conversation()
    mode, cut, rest = stream[:1], stream[1:2], memoryview(stream)[2:]
    if mode and mode[0] & ASSOCIATED:
        talk.hear(memoryview(a_request()))
        assert talk.acceptor.state is State.ESTABLISHED
        talk.acceptor.outgoing()
    at = len(rest) * (cut[0] if cut else 0) >> 8
    talk.hear(rest[:at])
    talk.hear(rest[at:])
    talk.acceptor.connection_closed()
    assert talk.acceptor.state is State.IDLE
    assert len(talk.acceptor.outgoing()) < OUTGOING_AT_MOST


if __name__ == "__main__":
    fuzz("tests.chaos.fuzz_upper_layer")
