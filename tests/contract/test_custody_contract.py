"""What the DICOM door may rely on, held by the real custody and by its fake."""

from dataclasses import dataclass
from typing import Any

import pytest

from gateway.errors import ReserveReached
from tests.fakes.custody import FakeCustody
from tests.fakes.custody_house import House, shipped


@dataclass
class Subject:
    custody: Any
    fill: Any
    held: Any


@pytest.fixture(params=["real", "fake"])
def subject(request, tmp_path, monkeypatch):
    if request.param == "fake":
        fake = FakeCustody()
        return Subject(
            fake, lambda: setattr(fake, "full", True), lambda: [h.arrival for h in fake.held]
        )
    house = House(tmp_path, reserve_bytes=1000)
    return Subject(
        house.custody,
        lambda: monkeypatch.setattr("gateway.line.terms.free_bytes", lambda _: 0),
        house.files,
    )


def send(custody, instance, step=5000):
    incoming = custody.begin(instance.arrival)
    for at in range(0, len(instance.raw), step):
        incoming.write(memoryview(instance.raw)[at : at + step])
    return incoming


def test_a_committed_instance_is_held(subject):
    verdict = send(subject.custody, shipped("CT_small.dcm")).commit()

    assert verdict.kind == "stored"
    assert isinstance(verdict.reason, str)
    assert len(subject.held()) == 1


def test_an_aborted_one_is_not_and_abort_may_be_repeated(subject):
    incoming = send(subject.custody, shipped("CT_small.dcm"))

    incoming.abort()
    incoming.abort()

    assert subject.held() == []


def test_abort_after_commit_changes_nothing(subject):
    incoming = send(subject.custody, shipped("CT_small.dcm"))
    incoming.commit()

    incoming.abort()

    assert len(subject.held()) == 1


def test_a_full_disk_refuses_to_begin(subject):
    subject.fill()

    with pytest.raises(ReserveReached):
        subject.custody.begin(shipped("CT_small.dcm").arrival)

    assert subject.held() == []


def test_several_instances_may_be_on_their_way_at_once(subject):
    names = ("CT_small.dcm", "MR_small.dcm", "reportsi.dcm")
    coming = [(subject.custody.begin(shipped(n).arrival), shipped(n).raw) for n in names]

    for incoming, raw in coming:
        incoming.write(raw[:500])
    for incoming, raw in reversed(coming):
        incoming.write(raw[500:])
    kinds = [incoming.commit().kind for incoming, _ in coming]

    assert kinds == ["stored"] * 3
    assert len(subject.held()) == 3
