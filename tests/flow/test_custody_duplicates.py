"""Same UID again: the matrix of what custody answers, and where the instance then lies."""

import sys
from subprocess import PIPE, Popen

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, corrected, dataset_of, shipped, written

pytestmark = pytest.mark.flow

RESEND = """
import sys
from pathlib import Path
from tests.fakes.custody_house import House, shipped, corrected
house = House(Path(sys.argv[1]))
instance = shipped("CT_small.dcm")
if sys.argv[2] != "-":
    instance = corrected(instance, InstanceNumber=sys.argv[2])
sys.stdin.readline()
for _ in range(10):
    print(house.take(instance).kind, flush=True)
"""


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def with_other_pixels(instance):
    dataset = dataset_of(instance)
    dataset.PixelData = dataset.PixelData[:-1] + b"\x7f"
    return written(dataset, instance)


def settle(house):
    index = house.index()
    line = house.line(index)
    while line.run_once():
        pass
    line.close()
    return index


@pytest.mark.parametrize("settled", [False, True], ids=["in arrivals", "in its folder"])
class TestTheMatrix:
    def test_the_same_bytes_are_success_once(self, house, settled):
        ct = shipped("CT_small.dcm")
        house.take(ct)
        if settled:
            settle(house)

        assert house.take(ct).kind == VerdictKind.DUPLICATE

        assert len(house.files()) == 1
        assert settle(house).counts()["instances"] == 1

    def test_a_corrected_header_supersedes(self, house, settled):
        ct = shipped("CT_small.dcm")
        house.take(ct)
        if settled:
            settle(house)

        assert house.take(corrected(ct, InstanceNumber="77")).kind == VerdictKind.STORED

        index = settle(house)
        (path,) = house.files()
        assert dcmread(path).InstanceNumber == 77
        assert index.read("SELECT instance_number FROM instance")[0][0] == 77
        assert [event for event, _ in house.trail.events] == ["instance_superseded"]

    def test_other_pixels_are_quarantined_and_the_first_stays(self, house, settled):
        ct = shipped("CT_small.dcm")
        house.take(ct)
        if settled:
            settle(house)
        other = with_other_pixels(ct)

        assert house.take(other, 999).kind == VerdictKind.QUARANTINED

        (path,) = house.files()
        assert dcmread(path).PixelData == dataset_of(ct).PixelData
        (entry,) = house.vault.list()
        with house.vault.open(entry.id) as (_, chunks):
            assert b"".join(chunks) == other.raw

    def test_a_correction_into_another_study_moves_the_instance(self, house, settled):
        ct = shipped("CT_small.dcm")
        house.take(ct)
        settle(house)
        moved = corrected(ct, StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
        house.take(moved)
        if settled:
            settle(house)

        index = settle(house)
        (path,) = house.files()
        assert dcmread(path).StudyInstanceUID == house.engine.pseudo_uid(
            dataset_of(moved).StudyInstanceUID
        )
        assert index.counts()["studies"] == 1
        assert index.counts()["series"] == 1

    def test_other_pixels_in_another_study_are_quarantined(self, house, settled):
        ct = shipped("CT_small.dcm")
        house.take(ct)
        settle(house)
        other = with_other_pixels(corrected(ct, StudyInstanceUID=generate_uid()))
        house.take(other)
        if settled:
            settle(house)

        assert settle(house).counts()["instances"] == 1
        (path,) = house.files()
        assert dcmread(path).PixelData == dataset_of(ct).PixelData
        assert [entry.reason for entry in house.vault.list()] == [
            "another instance of the same UID, with other pixel data, is stored already"
        ]


def test_another_profile_makes_the_same_bytes_a_new_version(house):
    ct = shipped("CT_small.dcm")
    house.take(ct)
    other = House(house.base, profile="research-longitudinal")

    assert other.take(ct).kind == VerdictKind.STORED

    index = settle(other)
    digests = index.read("SELECT DISTINCT profile_digest FROM instance")
    assert [row[0] for row in digests] == [other.engine.profile.digest]
    assert len(house.files()) == 1


def test_the_same_refusal_twice_is_one_entry(house):
    cut = shipped("MR_truncated.dcm")

    assert [house.take(cut).kind for _ in range(3)] == [VerdictKind.QUARANTINED] * 3

    assert len(house.vault.list()) == 1


def test_both_lanes_know_each_others_duplicates(tmp_path):
    express = House(tmp_path)
    instance = shipped("examples_overlay.dcm")
    vaulting = House(tmp_path, header_limit_bytes=10_000)
    assert "vault" in vaulting.take(instance).reason
    settle(express)

    assert express.take(instance).kind == VerdictKind.DUPLICATE
    assert len(express.files()) == 1


@pytest.mark.parametrize("change", ["-", "version"])
def test_resends_from_several_processes_end_in_one_file(tmp_path, change):
    senders = [
        Popen(
            [sys.executable, "-c", RESEND, str(tmp_path), "-" if change == "-" else str(number)],
            stdin=PIPE,
            stdout=PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for sender in senders:
        sender.stdin.write("go\n")
        sender.stdin.flush()
    house = House(tmp_path)
    line = house.line(house.index())
    while any(sender.poll() is None for sender in senders):
        line.run_once()  # the line settles while they send
    kinds = [kind for sender in senders for kind in sender.stdout.read().split()]
    while line.run_once():
        pass

    assert len(kinds) == 30
    assert set(kinds) <= {"stored", "duplicate"}
    assert kinds.count("stored") == 1 or change == "version"
    assert len(house.files()) == 1
    assert house.index().counts()["instances"] == 1
