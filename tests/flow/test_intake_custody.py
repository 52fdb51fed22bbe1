"""From a real sender through the door into real custody: files on a disk, without the patient."""

import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.intake.importer import import_directory
from tests.fakes.custody_house import House
from tests.fakes.raw_scu import RawScu, a_store, data, status_of
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
CT = get_testdata_file("CT_small.dcm")


def send(port, *options_and_files):
    command = ["storescu", "-v", "-aec", "RADFED", "127.0.0.1", str(port), *options_and_files]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )


def test_what_was_acknowledged_is_stored_without_its_patient(tmp_path):
    house, sent = House(tmp_path), dcmread(CT)

    with a_receiver(house.custody) as door:
        answer = send(door.port, CT)

    assert b"Received Store Response (Success)" in answer.stdout
    (stored,) = house.files()
    kept = dcmread(stored)
    assert kept.pixel_array.tobytes() == sent.pixel_array.tobytes()
    assert sent.PatientID.encode() not in house.everything_written()
    assert sent.SOPInstanceUID.encode() not in house.everything_written()
    assert [event for event, _ in door.events].count("instance_stored") == 1


def test_the_same_instance_twice_is_stored_once(tmp_path):
    house = House(tmp_path)

    with a_receiver(house.custody) as door:
        answers = [send(door.port, CT) for _ in range(2)]

    assert all(b"Success" in answer.stdout for answer in answers)
    assert len(house.files()) == 1
    assert door.seen("instance_duplicate")


def test_a_dataset_nobody_can_read_is_in_custody_all_the_same(tmp_path):
    house = House(tmp_path)

    with a_receiver(house.custody) as door, RawScu(door.port) as scu:
        scu.associate()
        scu.say(data(1, 3, a_store()), data(1, 2, b"\xff" * 500))
        answer = scu.hear()

    assert status_of(answer) == 0
    assert not house.files()
    assert len([file for file in (tmp_path / "vault").rglob("*") if file.is_file()]) == 1


def test_a_connection_cut_inside_the_pixels_leaves_no_trace(tmp_path):
    house, content = House(tmp_path), Path(CT).read_bytes()
    before = sorted(tmp_path.rglob("*"))

    with a_receiver(house.custody) as door:
        with RawScu(door.port) as scu:
            scu.associate()
            scu.say(data(1, 3, a_store()), *[data(1, 0, content[400:9000]) for _ in range(3)])
        eventually(lambda: door.seen("connection_lost"))

    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == [
        p for p in before if p.is_file()
    ]


def test_a_disk_at_its_reserve_is_out_of_resources(tmp_path):
    house = House(tmp_path, reserve_bytes=1 << 60)

    with a_receiver(house.custody) as door:
        answer = send(door.port, CT)

    assert b"OutOfResources" in answer.stdout
    assert not house.files()


def test_an_import_and_a_sender_meet_in_one_store(tmp_path):
    house = House(tmp_path / "house")
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc" / "IM0001").write_bytes(Path(CT).read_bytes())

    report = import_directory(tmp_path / "disc", house.custody)
    again = import_directory(tmp_path / "disc", house.custody)

    assert (report.stored, report.not_taken) == (1, ())
    assert (again.stored, again.duplicate) == (0, 1)
    assert len(house.files()) == 1
