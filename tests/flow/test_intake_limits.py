"""Deadlines, caps, and how the door closes."""

import socket
import threading
import time

import pytest

from gateway.config import Intake
from gateway.errors import EnvironmentFault
from gateway.intake.sockets import listen
from tests.fakes.custody import FakeCustody
from tests.fakes.raw_scu import RELEASE, RawScu, a_store, an_echo, data, status_of
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7
CONGESTION = b"\0\2\3\1"
ECHO = data(3, 3, an_echo())


@pytest.mark.parametrize("said", [b"", b"\1", b"\1\0\0\0\0\xff" + bytes(40)])
def test_who_asks_for_nothing_in_time_is_hung_up_on_without_a_word(said):
    with a_receiver(FakeCustody(), first_pdu_seconds=0.3) as door, RawScu(door.port) as scu:
        scu.say(said)

        assert scu.hear() is None


def test_who_is_silent_too_long_between_messages_is_aborted():
    with a_receiver(FakeCustody(), idle_seconds=0.3) as door, RawScu(door.port) as scu:
        assert scu.associate()[0] == ACCEPTED

        assert scu.hear() == (ABORTED, b"\0\0\0\0")


def test_an_association_outlives_pauses_shorter_than_the_deadline():
    with a_receiver(FakeCustody(), idle_seconds=3) as door, RawScu(door.port) as scu:
        scu.associate()
        for _ in range(5):
            time.sleep(0.7)
            scu.say(ECHO)
            assert scu.hear()[0] == DATA
        scu.say(RELEASE)

        assert scu.hear()[0] == RELEASED


def test_one_peer_cannot_take_more_than_its_share():
    with a_receiver(FakeCustody(), max_associations_per_peer=2) as door:
        scus = [RawScu(door.port) for _ in range(3)]
        answers = [scu.associate() for scu in scus]
        other = RawScu(door.port)
        other_answer = other.associate(calling="DCMSEND")
        scus[0].say(RELEASE)
        scus[0].hear()
        scus[0].socket.close()
        eventually(lambda: RawScu(door.port).associate()[0] == ACCEPTED)
        for scu in (*scus, other):
            scu.socket.close()

    assert [kind for kind, _ in answers] == [ACCEPTED, ACCEPTED, REJECTED]
    assert answers[2][1] == CONGESTION
    assert other_answer[0] == ACCEPTED


def test_the_total_is_capped_too():
    with (
        a_receiver(FakeCustody(), max_associations=1) as door,
        RawScu(door.port) as first,
        RawScu(door.port) as second,
    ):
        assert first.associate()[0] == ACCEPTED
        assert second.associate(calling="DCMSEND") == (REJECTED, CONGESTION)


def test_commands_may_be_pipelined_and_are_answered_in_order():
    custody = FakeCustody()

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, a_store("1.2.1")), data(1, 0, b"ab"), data(1, 2, b"cd"), ECHO, RELEASE)
        answers = [scu.hear() for _ in range(3)]

    assert [kind for kind, _ in answers] == [DATA, DATA, RELEASED]
    assert status_of(answers[0]) == 0
    assert custody.held[0].dataset == b"abcd"


def test_stopping_lets_a_running_store_finish_and_then_aborts():
    custody = FakeCustody()

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, a_store()), data(1, 0, b"first"))
        eventually(lambda: custody.open_now == 1)
        door.stop.set()
        time.sleep(0.7)
        scu.say(data(1, 2, b"last"))

        assert status_of(scu.hear()) == 0
        assert scu.hear() == (ABORTED, b"\0\0\0\0")
        door.thread.join(5)
        assert not door.thread.is_alive()

    assert custody.held[0].dataset == b"firstlast"


def test_stopping_does_not_wait_longer_than_the_grace_period():
    custody = FakeCustody()

    with a_receiver(custody, stop_grace_seconds=0.2) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, a_store()), data(1, 0, b"never ends"))
        eventually(lambda: custody.open_now == 1)
        door.stop.set()

        assert scu.hear() == (ABORTED, b"\0\0\0\0")
        door.thread.join(5)
        assert not door.thread.is_alive()

    assert (custody.held, custody.aborted) == ([], 1)


def test_an_idle_association_does_not_hold_up_stopping():
    with a_receiver(FakeCustody(), stop_grace_seconds=120) as door, RawScu(door.port) as scu:
        scu.associate()
        door.stop.set()
        door.thread.join(30)

        assert not door.thread.is_alive()


def test_two_receivers_share_one_listening_socket():
    first, second = FakeCustody(), FakeCustody()

    with a_receiver(first) as one:
        shared = [(one.sockets[0][0].dup(), None)]
        with a_receiver(second, sockets=shared):
            sent = 0
            while sent < 20 or (sent < 500 and not (first.held and second.held)):
                with RawScu(one.port) as scu:
                    scu.associate()
                    scu.say(data(1, 3, a_store()), data(1, 2, b"x"))
                    assert status_of(scu.hear()) == 0
                sent += 1

    assert len(first.held) + len(second.held) == sent
    assert first.held
    assert second.held


def test_a_port_in_use_is_named_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(EnvironmentFault, match=f"port {port} is in use by another program"):
            listen(Intake(host="127.0.0.1", port=port))


def test_an_address_of_another_machine_is_named():
    with pytest.raises(EnvironmentFault, match="no address of this machine"):
        listen(Intake(host="192.0.2.1", port=0))


def test_a_dual_stack_socket_serves_ipv4_too():
    with a_receiver(FakeCustody(), host="::") as door, RawScu(door.port) as scu:
        assert scu.associate()[0] == ACCEPTED


def test_custody_may_take_its_time_over_a_commit():
    slow = threading.Event()

    def judge(_):
        slow.wait(2)
        raise OSError(28, "No space left on device")

    with a_receiver(FakeCustody(judge=judge), idle_seconds=0.5) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, a_store()), data(1, 2, b"x"))
        time.sleep(1)
        slow.set()

        assert status_of(scu.hear()) == 0xA700
