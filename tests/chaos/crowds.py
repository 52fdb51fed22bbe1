"""Peers by the hundred and bytes nobody would send, against the real receiver processes."""

import random
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.chaos.images import CT, image, write
from tests.chaos.running import Gateway, resident_kilobytes
from tests.chaos.senders import StoreScu
from tests.fakes.raw_scu import RELEASE, RawScu, a_request, a_store, an_echo, data, pdu

GROWTH_KILOBYTES = 40_000  # what a crowd may add to a receiver and leave there: buffers of malloc


def crowd(directory: Path, associations: int, trickling: int) -> dict[str, object]:
    """Short associations and trickling sockets, while an honest storescu keeps storing."""
    gateway = Gateway(directory / "house")
    (directory / "sent").mkdir()
    files = [write(directory / "sent", CT, number) for number in range(1, 31)]
    done = threading.Event()
    try:
        gateway.start()
        receivers = set(gateway.receivers)
        with ExitStack() as sockets:
            waiting = [sockets.enter_context(RawScu(gateway.port)) for _ in range(trickling)]
            threads = [threading.Thread(target=_trickle, args=(waiting, done))]
            threads += [
                threading.Thread(target=_come_and_go, args=(gateway.port, associations // 2))
                for _ in range(2)
            ]
            started = time.monotonic()
            for thread in threads:
                thread.start()
            rounds = 0
            while any(thread.is_alive() for thread in threads[1:]) or not rounds:
                answers = StoreScu(gateway.port, files).wait(60)
                assert set(answers.values()) == {"Success"}, "an honest sender was kept out"
                assert len(answers) == len(files)
                rounds += 1
            seconds = time.monotonic() - started
            done.set()
            for thread in threads:
                thread.join(30)
        assert set(gateway.receivers) == receivers, "a receiver died"
        gateway.stop()
        assert len(gateway.holdings().stored) == len(files)
        assert "Traceback" not in gateway.said()
    finally:
        done.set()
        gateway.destroy()
    return {"honest_rounds": rounds, "seconds": round(seconds, 1)}


def _trickle(scus: list[RawScu], done: threading.Event) -> None:
    while not done.wait(0.5):
        for scu in scus:
            with suppress(OSError):
                scu.socket.send(b"\1")


def _come_and_go(port: int, times: int) -> None:
    for _ in range(times):
        with RawScu(port, seconds=30) as scu, suppress(ConnectionError):
            scu.say(a_request(calling="DCMSEND"), data(3, 3, an_echo()), RELEASE)
            for _ in range(3):  # accepted, echoed, released: then it is ours to close
                scu.hear()


def mutants(directory: Path, conversations: int, seed: int) -> dict[str, object]:
    """Conversations with an image in them, a few bytes changed, added or cut in each."""
    gateway = Gateway(directory / "house", first_pdu_seconds=1.0)
    dice = random.Random(seed)
    honest = _honest()
    try:
        gateway.start()
        receivers = gateway.receivers
        before = [resident_kilobytes(pid) for pid in receivers]
        for _ in range(conversations):
            with RawScu(gateway.port, seconds=20) as scu, suppress(ConnectionError):
                scu.say(_mutated(honest, dice))
                scu.socket.shutdown(socket.SHUT_WR)
                while scu.hear() is not None:
                    pass
        assert gateway.receivers == receivers, "a receiver died"
        grown = max(resident_kilobytes(p) - b for p, b in zip(receivers, before, strict=True))
        assert grown < GROWTH_KILOBYTES, f"a receiver grew by {grown} kB"
        file = write(directory, CT, 99)
        assert set(StoreScu(gateway.port, [file]).wait().values()) == {"Success"}
        gateway.wait_until_settled()
        gateway.stop()
        held = gateway.holdings()  # one UID, many versions of its bytes: they are told apart
        assert not held.unindexed | held.without_file
        assert "Traceback" not in gateway.said()
    finally:
        gateway.destroy()
    return {"conversations": conversations, "grown_kilobytes": grown}


def _honest() -> bytes:
    """One association: an echo, an odd PDU's worth of fragments, a whole CT, a release."""
    ct = image(CT, 7)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, Dataset(ct))
    raw = buffer.getvalue()
    fragments = [data(1, 0, raw[at : at + 1500]) for at in range(0, 4500, 1500)]
    store = data(1, 3, a_store(str(ct.SOPInstanceUID)))
    return b"".join(
        (a_request(), data(3, 3, an_echo()), store, *fragments, data(1, 2, raw[4500:]), RELEASE)
    )


def _mutated(honest: bytes, dice: random.Random) -> bytes:
    changed = bytearray(honest)
    for _ in range(dice.randint(1, 6)):
        at, kind = dice.randrange(len(changed)), dice.random()
        if kind < 0.6:
            changed[at] = dice.choice([0, 1, 2, 7, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        elif kind < 0.75:
            del changed[at : at + dice.randint(1, 40)]
        elif kind < 0.9:
            changed[at:at] = dice.randbytes(dice.randint(1, 40))
        else:
            changed[at:at] = pdu(dice.randrange(256), dice.randbytes(dice.randint(0, 30)))
    return bytes(changed)
