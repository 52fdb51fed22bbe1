"""Comments in compressed frames and bits beside samples, through the lane each comes in."""

from dataclasses import replace
from struct import pack

import pytest
from pydicom import dcmread
from pydicom.uid import NuclearMedicineImageStorage

from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, dataset_of, shipped, written

pytestmark = pytest.mark.flow
SOC = b"\xff\x4f\xff\x51"
NAME = b"Featherstone^Quentin"


def commented():
    """A JPEG 2000 frame that carries a comment, as a device's software writes it."""
    instance = shipped("JPEG2000.dcm")
    dataset = dataset_of(instance)
    dataset.SOPClassUID = NuclearMedicineImageStorage  # the shipped one says secondary capture
    instance = written(dataset, instance, sop_class_uid=str(NuclearMedicineImageStorage))
    start = instance.raw.index(SOC)
    at = start + 4 + int.from_bytes(instance.raw[start + 4 : start + 6])  # behind SIZ
    comment = b"\xff\x64" + pack(">H", 4 + len(NAME)) + b"\0\1" + NAME
    size = int.from_bytes(instance.raw[start - 4 : start], "little") + len(comment)
    raw = instance.raw[: start - 4] + pack("<I", size) + instance.raw[start:at]
    return replace(instance, raw=raw + comment + instance.raw[at:])


def drawn():
    """A CT of twelve bits with something in the other four."""
    instance = shipped("CT_small.dcm")
    dataset = dataset_of(instance)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    samples = bytearray(
        value & 0x0F if at % 2 else value for at, value in enumerate(dataset.PixelData)
    )
    samples[4001] |= 0x80
    dataset.PixelData = bytes(samples)
    return written(dataset, instance)


def sealed(house):
    (entry,) = house.vault.list()
    with house.vault.open(entry.id) as (_, chunks):
        return entry, b"".join(chunks)


@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_a_comment_is_blanked_on_its_way_to_the_store(tmp_path, chunk):
    house, sent = House(tmp_path), commented()

    verdict = house.take(sent, chunk)

    assert verdict.reason == ""
    (file,) = house.files()
    assert NAME not in file.read_bytes()
    assert len(dcmread(file).PixelData) == len(dataset_of(sent).PixelData)
    assert house.take(sent, chunk).kind is VerdictKind.DUPLICATE


def test_both_lanes_store_the_same_frames(tmp_path):
    express, vault = House(tmp_path / "a"), House(tmp_path / "b", header_limit_bytes=100)

    express.take(commented())
    vault.take(commented())
    vault.line(vault.index()).run_once()

    (one,), (other,) = express.files(), vault.files()
    assert NAME not in other.read_bytes()
    assert dcmread(one).PixelData == dcmread(other).PixelData


def test_a_late_refusal_seals_what_was_sent_to_the_byte(tmp_path):
    house, sent = House(tmp_path), commented()
    cut = replace(sent, raw=sent.raw[:-30])  # inside the frame, behind the comment

    verdict = house.take(cut, 500)

    assert verdict.kind is VerdictKind.QUARANTINED
    assert sealed(house)[1] == cut.raw
    assert NAME not in house.everything_written()


def test_frames_that_are_none_are_quarantined_as_they_were_sent(tmp_path):
    house, sent = House(tmp_path), commented()
    odd = replace(sent, raw=sent.raw.replace(SOC, b"Doe^", 1))

    house.take(odd, 700)
    house.line(house.index()).run_once()

    entry, raw = sealed(house)
    assert "frames" in entry.reason
    assert raw == odd.raw
    assert house.files() == []


@pytest.mark.parametrize("limit", [8 << 20, 100])
def test_bits_beside_the_samples_are_quarantined_and_may_be_released(tmp_path, limit):
    house, sent = House(tmp_path, header_limit_bytes=limit), drawn()
    line = house.line(house.index())

    house.take(sent, 3001)
    line.run_once()
    entry, raw = sealed(house)

    assert "bits of its samples" in entry.reason
    assert entry.advice
    assert raw == sent.raw
    house.vault.release(entry.id)
    line.run_once()
    assert len(house.files()) == 1
