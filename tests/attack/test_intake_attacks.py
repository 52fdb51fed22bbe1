"""Hostile and broken peers: no crash, no lock-out, nothing half stored, bounded memory."""

import random
import resource
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from struct import pack

import pytest
from pydicom.data import get_testdata_file

from gateway.config import Intake
from gateway.intake.dimse import BadMessage, MessageReader
from gateway.intake.pdu import AssociateRequest, Rejection
from gateway.intake.rules import CONNECTING_AT_MOST, Admission
from gateway.intake.states import State
from gateway.intake.upper_layer import Acceptor, Fragment, ReleaseRequested
from tests.fakes.custody import FakeCustody
from tests.fakes.raw_scu import (
    CT,
    RELEASE,
    RawScu,
    a_request,
    a_store,
    an_echo,
    data,
    item,
    pdu,
    status_of,
)
from tests.fakes.receiver import PEERS, a_receiver, eventually

pytestmark = pytest.mark.attack
ACCEPTED, DATA, RELEASED, ABORTED = 2, 4, 6, 7
INVALID = b"\0\0\2\6"
IMAGE = get_testdata_file("CT_small.dcm")


def storescu(port, *, times=1):
    command = ["storescu", "-aec", "RADFED", "127.0.0.1", str(port), *[IMAGE] * times]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def an_honest_store_works(door, custody):
    before = len(custody.held)
    assert storescu(door.port) == 0
    assert len(custody.held) == before + 1


def resident_bytes():
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - not a file to have a path to
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_thousands_of_mutated_conversations_break_nothing():
    """Seeded: each conversation is an honest one with a few bytes changed, added or cut."""
    custody, dice = FakeCustody(), random.Random(20250101)
    honest = a_request() + data(3, 3, an_echo()) + data(1, 3, a_store()) + data(1, 2, b"x" * 40)
    honest += RELEASE

    with a_receiver(custody, first_pdu_seconds=1) as door:
        for _ in range(3000):
            with RawScu(door.port) as scu, suppress(ConnectionError):
                scu.say(mutated(honest, dice))
                scu.socket.shutdown(socket.SHUT_WR)
                while scu.hear() is not None:
                    pass
        an_honest_store_works(door, custody)
        eventually(lambda: custody.open_now == 0)
        died = [facts for _, facts in door.events if facts.get("fault") not in LOSSES]

    assert died == []


LOSSES = {None, "closed by the peer", "BrokenPipeError", "ConnectionResetError"}


def mutated(honest, dice):
    changed = bytearray(honest)
    for _ in range(dice.randint(1, 4)):
        at, kind = dice.randrange(len(changed)), dice.random()
        if kind < 0.6:
            changed[at] = dice.choice([0, 1, 2, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        elif kind < 0.8:
            del changed[at : at + dice.randint(1, 20)]
        else:
            changed[at:at] = dice.randbytes(dice.randint(1, 20))
    return bytes(changed)


def test_ten_thousand_mutated_streams_leave_the_protocol_sane():
    """Without a socket: whatever comes, it ends in an answer, an abort or a wait for more."""
    dice, admission = random.Random(20250102), Admission(Intake(peers=PEERS))
    honest = a_request() + data(1, 1, a_store()[:50]) + data(1, 3, a_store()[50:])
    honest += data(1, 0, b"y" * 300) + data(1, 2, b"") + data(3, 3, an_echo()) + RELEASE

    for _ in range(10_000):
        acceptor, messages = Acceptor(16384), MessageReader()
        stream = memoryview(mutated(honest, dice))
        cut = dice.randrange(len(stream))
        for piece in (stream[:cut], stream[cut:]):
            for event in acceptor.receive(piece):
                converse(acceptor, messages, admission, event)
        acceptor.connection_closed()

        assert acceptor.state is State.IDLE
        assert len(acceptor.outgoing()) < 4096


def converse(acceptor, messages, admission, event):
    if isinstance(event, AssociateRequest):
        peer = admission.caller(event, ip_address("127.0.0.1"))
        if isinstance(peer, Rejection):
            acceptor.reject(peer)
        else:
            acceptor.accept(admission.negotiate(event, peer), event.max_length)
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


def test_random_bytes_break_nothing():
    custody, dice = FakeCustody(), random.Random(7)

    with a_receiver(custody, first_pdu_seconds=0.3) as door:
        for _ in range(200):
            with RawScu(door.port) as scu, suppress(ConnectionError):
                scu.say(dice.randbytes(dice.randint(1, 500)))
                scu.socket.shutdown(socket.SHUT_WR)
                while scu.hear() is not None:
                    pass
        an_honest_store_works(door, custody)


@pytest.mark.parametrize("associated", [False, True], ids=["strangers", "associated"])
def test_two_hundred_trickling_sockets_do_not_stop_an_honest_sender(associated):
    custody = FakeCustody()
    done = threading.Event()

    def trickle(scus):
        while not done.wait(0.2):
            for scu in scus:
                with suppress(OSError):
                    scu.socket.send(b"\4" if associated else b"\1")

    settings = {"max_associations_per_peer": 250, "first_pdu_seconds": 120}
    with a_receiver(custody, **settings) as door, ExitStack() as open_sockets:
        scus = [open_sockets.enter_context(RawScu(door.port)) for _ in range(200)]
        if associated:
            assert {scu.associate(calling="DCMSEND")[0] for scu in scus} == {ACCEPTED}
            for scu in scus:
                scu.say(data(1, 3, a_store()), pack(">BBIIBB", 4, 0, 4096, 4092, 1, 0))
        thread = threading.Thread(target=trickle, args=(scus,))
        thread.start()
        answers = [storescu(door.port, times=5) for _ in range(3)]
        gone = [facts for name, facts in door.events if name.startswith("connection_")]
        trickling = custody.open_now
        done.set()
        thread.join()

    assert answers == [0, 0, 0]
    assert len(custody.held) == 15
    assert gone == []  # all two hundred were there all the time
    assert trickling == (200 if associated else 0)
    assert custody.open_now == 0


def test_ten_incomplete_first_pdus_lock_nobody_out():
    custody = FakeCustody()

    with a_receiver(custody) as door, ExitStack() as open_sockets:
        for size in range(1, 11):
            scu = open_sockets.enter_context(RawScu(door.port))
            scu.say(a_request()[: size * 10])
        an_honest_store_works(door, custody)


def test_more_connections_than_may_wait_cost_the_oldest_their_place():
    custody = FakeCustody()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTING_AT_MOST + 400
    if hard < wanted:
        pytest.skip(f"needs {wanted} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    with a_receiver(custody, first_pdu_seconds=60) as door, ExitStack() as open_sockets:
        scus = [
            open_sockets.enter_context(RawScu(door.port)) for _ in range(CONNECTING_AT_MOST + 20)
        ]
        eventually(lambda: len(door.seen("connection_evicted")) >= 20)
        an_honest_store_works(door, custody)

        assert scus[0].hear() is None


def test_five_hundred_short_associations_leave_nothing_behind():
    custody = FakeCustody()

    with a_receiver(custody) as door:
        before = threading.active_count()
        for number in range(500):
            with RawScu(door.port) as scu:
                scu.say(a_request(), data(3, 3, an_echo()), RELEASE)
                assert [scu.hear()[0] for _ in range(3)] == [ACCEPTED, DATA, RELEASED]
            if number % 100 == 0:
                an_honest_store_works(door, custody)
        eventually(lambda: threading.active_count() <= before)

    assert len(door.seen("association_released")) == 505


@pytest.mark.parametrize("cut", ["in a command", "in a dataset", "in a header", "between PDUs"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_connection_cut_anywhere_leaves_nothing(cut, reset):
    custody, store = FakeCustody(), data(1, 3, a_store())
    said = {
        "in a command": store[:40],
        "in a dataset": store + data(1, 0, b"x" * 5000)[:3000],
        "in a header": store + data(1, 0, b"x" * 5000) + b"\4\0\0",
        "between PDUs": store + data(1, 0, b"x" * 5000),
    }[cut]

    with a_receiver(custody) as door:
        with RawScu(door.port) as scu:
            scu.associate()
            scu.say(said)
            if cut != "in a command":
                eventually(lambda: custody.open_now == 1)
            if reset:
                scu.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        eventually(lambda: door.seen("connection_lost"))
        eventually(lambda: custody.open_now == 0)

    assert not custody.held


def test_a_release_inside_a_dataset_leaves_nothing_and_is_answered():
    custody = FakeCustody()

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, a_store()), data(1, 0, b"half"), RELEASE)

        assert scu.hear()[0] == RELEASED

    assert (custody.held, custody.aborted, custody.open_now) == ([], 1, 0)


ENDLESS = pdu(4, b"")[:2] + pack(">I", 16384)
BROKEN = {
    "a context never negotiated": data(5, 3, an_echo()),
    "a rejected context": data(7, 3, an_echo()),
    "a PDU longer than agreed": b"\4\0" + pack(">I", 1 << 31),
    "a value longer than its PDU": pack(">BBIIBB", 4, 0, 10, 1 << 31, 1, 3),
    "a value of length 0": pack(">BBIIBB", 4, 0, 6, 0, 1, 3),
    "a value of length 1": pack(">BBIIBB", 4, 0, 6, 1, 1, 3),
    "an empty P-DATA": pack(">BBI", 4, 0, 0),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
def test_broken_pdus_are_aborted_by_the_provider_with_their_reason(said):
    custody = FakeCustody()
    contexts = ((1, CT), (3, "1.2.840.10008.1.1"), (7, "1.2.840.10008.1.20.1"))

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        assert scu.associate(contexts=contexts)[0] == ACCEPTED
        scu.say(said)

        assert scu.hear() == (ABORTED, INVALID)


STORE = data(1, 3, a_store())
MISTAKEN = {
    "a dataset without a command": data(1, 2, b"dataset"),
    "a dataset in another context": STORE + data(3, 2, b"dataset"),
    "a command inside a dataset": STORE + data(1, 0, b"half") + STORE,
    "a command that is none": data(1, 3, b"\0\0\0\0\xff\xff\xff\xff"),
    "a command in two contexts": data(1, 1, a_store()[:20]) + data(3, 3, a_store()[20:]),
    "a command without end": b"".join(data(1, 1, bytes(8000)) for _ in range(3)),
    "a response nobody asked for": data(3, 3, an_echo().replace(b"\x30\0", b"\x30\x80", 1)),
}


@pytest.mark.parametrize("said", MISTAKEN.values(), ids=MISTAKEN)
def test_messages_that_cannot_be_answered_are_aborted_by_the_user(said):
    custody = FakeCustody()

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(said)

        assert scu.hear() == (ABORTED, b"\0\0\0\0")

    assert (custody.held, custody.open_now) == ([], 0)


HOSTILE = ["../../../../etc/passwd", "1.2\0.3", "$(reboot)", "1" * 300, "1.2 3", "..", "/"]


@pytest.mark.parametrize("instance", HOSTILE)
def test_a_uid_that_could_be_a_path_is_refused_and_its_dataset_dropped(instance):
    custody = FakeCustody()
    placeholder = "1.2." + "9" * 20
    padded = instance + "\0" * (len(instance) & 1)
    command = a_store(placeholder)
    element = pack("<HHI", 0, 0x1000, 24) + placeholder.encode()
    hostile = pack("<HHI", 0, 0x1000, len(padded)) + padded.encode()
    assert element in command

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, command.replace(element, hostile)), data(1, 2, b"dataset"))
        refused = scu.hear()
        scu.say(data(3, 3, an_echo()))
        still = scu.hear()

    assert status_of(refused) == 0x0117
    assert status_of(still) == 0
    assert not custody.held


def test_a_request_with_every_limit_reached_is_cheap():
    """128 contexts of 1,000 transfer syntaxes each would be 1.5 MB: refused by its header."""
    many = b"".join(item(0x40, b"1.2.%d" % n) for n in range(4000))
    context = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + many)
    body = a_request()[6:74] + context * 12

    with a_receiver(FakeCustody()) as door, RawScu(door.port) as scu:
        before = time.process_time()
        with suppress(ConnectionError):
            scu.say(pdu(1, body))
        assert scu.hear() in {(ABORTED, b"\0\0\0\0"), None}
        assert time.process_time() - before < 1


def test_memory_stays_bounded_whatever_the_instance_size():
    custody = FakeCustody(keep=False)
    chunk = b"".join(data(1, 0, bytes(16000)) for _ in range(100))

    def push(door):
        with RawScu(door.port, seconds=60) as scu:
            scu.associate()
            scu.say(data(1, 3, a_store()))
            for _ in range(30):
                scu.say(chunk)
            scu.say(data(1, 2, b"end"))
            assert status_of(scu.hear()) == 0

    with a_receiver(custody) as door:
        push(door)
        before = resident_bytes()
        threads = [threading.Thread(target=push, args=(door,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        grown = resident_bytes() - before

    assert len(custody.held) == 9
    assert grown < 16 << 20  # 8 x 48 MB went through


def test_a_peer_that_never_reads_is_given_up(monkeypatch):
    monkeypatch.setattr("gateway.intake.association.SEND_SECONDS", 0.5)
    custody = FakeCustody()
    echoes = data(3, 3, an_echo()) * 200

    with a_receiver(custody) as door, RawScu(door.port, seconds=2) as scu:
        scu.associate()
        with suppress(TimeoutError, ConnectionError):
            for _ in range(2000):
                scu.say(echoes)
        eventually(lambda: door.seen("connection_lost"), 10)
        an_honest_store_works(door, custody)


def test_a_defect_of_ours_ends_one_association_only():
    class Broken(FakeCustody):
        def begin(self, arrival):
            if arrival.calling_ae == "DCMSEND":
                raise MemoryError
            return super().begin(arrival)

    custody = Broken()

    with a_receiver(custody) as door, RawScu(door.port) as scu:
        scu.associate(calling="DCMSEND")
        scu.say(data(1, 3, a_store()), data(1, 2, b"x"))

        assert status_of(scu.hear()) == 0x0110
        an_honest_store_works(door, custody)
