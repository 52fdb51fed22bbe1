"""One suite over the real custody and its fake, so that the fake cannot lie."""

import pytest

from gateway.errors import ReserveReached
from gateway.intake.custody import Custody
from gateway.intake.rules import VERDICTS
from tests.fakes.custody import FakeCustody
from tests.fakes.custody_house import House, shipped

CT = shipped("CT_small.dcm")


@pytest.fixture(params=["real", "fake"])
def made(request, tmp_path):
    """A custody, how to fill its disk, and how to count what it keeps."""
    if request.param == "fake":
        fake = FakeCustody()
        return fake, FakeCustody(full=True), lambda: len(fake.held)
    house = House(tmp_path / "house")
    full = House(tmp_path / "full", reserve_bytes=1 << 60)
    return house.custody, full.custody, lambda: len(house.files())


def test_a_committed_instance_is_kept_once_with_a_known_verdict(made):
    custody, _, kept = made
    incoming = custody.begin(CT.arrival)

    incoming.write(memoryview(CT.raw)[:1000])
    incoming.write(CT.raw[1000:])
    verdict = incoming.commit()

    assert VERDICTS[str(verdict.kind)] == 0
    assert isinstance(verdict.reason, str)
    assert kept() == 1


def test_the_buffer_is_the_caller_s_again_after_each_write(made):
    custody, _, kept = made
    incoming, buffer = custody.begin(CT.arrival), bytearray(700)

    for at in range(0, len(CT.raw), len(buffer)):
        piece = CT.raw[at : at + len(buffer)]
        buffer[: len(piece)] = piece
        incoming.write(memoryview(buffer)[: len(piece)])
        buffer[:] = bytes(len(buffer))

    assert incoming.commit().kind == "stored"
    assert kept() == 1


@pytest.mark.parametrize("size", [0, 100, len(CT.raw) - 1])
def test_an_aborted_instance_leaves_nothing_however_often_it_is_aborted(made, size):
    custody, _, kept = made
    incoming = custody.begin(CT.arrival)
    incoming.write(CT.raw[:size])

    incoming.abort()
    incoming.abort()

    assert kept() == 0


def test_an_abort_after_a_commit_takes_nothing_back(made):
    custody, _, kept = made
    incoming = custody.begin(CT.arrival)
    incoming.write(CT.raw)
    incoming.commit()

    incoming.abort()

    assert kept() == 1


def test_a_disk_at_its_reserve_refuses_before_anything_is_written(made):
    _, full, kept = made

    with pytest.raises(ReserveReached):
        full.begin(CT.arrival)

    assert kept() == 0


def test_both_are_what_the_door_asks_for(made):
    custody: Custody = made[0]

    assert custody.begin(CT.arrival) is not custody.begin(CT.arrival)
