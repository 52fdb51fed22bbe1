"""Every lane an instance can take, with the files of the pydicom wheel."""

import struct

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from gateway.deid.walk import MAX_NESTING, Found, Walk
from gateway.line.custody import VerdictKind
from gateway.line.encoding import syntax_of
from gateway.model import Lane
from gateway.store.files import without_record
from tests.fakes.custody_house import House, corrected, dataset_of, shipped, written

pytestmark = pytest.mark.flow
NATIVE = ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"]
COMPRESSED = [
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "693_J2KI.dcm",
]
WITHOUT_PIXELS = ["reportsi.dcm", "waveform_ecg.dcm", "test-SR.dcm"]
RISKY = ["ExplVR_BigEnd.dcm", "examples_rgb_color.dcm", "SC_rgb_rle.dcm", "JPEG2000.dcm"]


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def pixel_element(instance):
    """The bytes of Pixel Data as they were sent, its header included."""
    found = Walk(syntax_of(instance.arrival.transfer_syntax_uid).encoding).look(instance.raw)
    if not isinstance(found, Found):
        return b""
    end = None if found.length is None else found.value + found.length
    return instance.raw[found.element : end]


@pytest.mark.parametrize("chunk", [1 << 20, 4093, 61])
@pytest.mark.parametrize("name", NATIVE + COMPRESSED + WITHOUT_PIXELS)
def test_the_express_lane_keeps_the_pixels_and_not_the_patient(house, name, chunk):
    instance = shipped(name)

    verdict = house.take(instance, chunk)

    assert verdict.kind == VerdictKind.STORED
    (path,) = house.files()
    kept, sent = dcmread(path), dataset_of(instance)
    assert kept.file_meta.TransferSyntaxUID == instance.arrival.transfer_syntax_uid
    assert kept.SOPInstanceUID == kept.file_meta.MediaStorageSOPInstanceUID
    assert kept.SOPInstanceUID == house.engine.pseudo_uid(sent.SOPInstanceUID)
    assert kept.PatientID != sent.PatientID or not sent.PatientID
    pixels = pixel_element(instance)
    assert path.read_bytes().endswith(pixels if "PixelData" not in kept else pixels[:64]) or (
        pixels[:4096] in path.read_bytes()
    )
    if "PixelData" in kept:
        assert kept.PixelData == sent.PixelData


@pytest.mark.parametrize("name", NATIVE + COMPRESSED + WITHOUT_PIXELS)
def test_the_sealed_record_is_the_way_back(house, name):
    instance = shipped(name)
    sent = dataset_of(instance)

    house.take(instance, 1000)

    (path,) = house.files()
    record = house.store.record_of(path)
    assert record.received == house.received(instance.raw)
    assert record.original.sop_uid == instance.arrival.sop_instance_uid
    assert record.original.patient_id == sent.get("PatientID", "")
    assert (record.sender, record.lane) == ("PACS", Lane.EXPRESS)
    assert len(dcmread(path).file_meta[0x00020102].value) == 2048


def test_what_follows_pixel_data_is_dropped_but_counts_in_the_digest(house):
    dataset = dataset_of(shipped("CT_small.dcm"))
    dataset.add_new(0xFFFCFFFC, "OB", b"Doe^Jane" * 10)
    instance = written(dataset, shipped("CT_small.dcm"))

    house.take(instance, 777)

    (path,) = house.files()
    assert 0xFFFCFFFC not in dcmread(path)
    assert house.store.record_of(path).received == house.received(instance.raw)


@pytest.mark.parametrize("name", RISKY)
def test_risky_pixels_wait_in_the_vault_and_never_lie_in_the_clear(house, name):
    instance = shipped(name)

    verdict = house.take(instance, 5000)

    assert verdict.kind == VerdictKind.STORED
    assert house.files() == []
    assert house.vault.counts() == {"incoming": 1, "quarantined": 0}
    assert instance.arrival.sop_instance_uid.encode() not in house.everything_written()
    assert pixel_element(instance)[100:400] not in house.everything_written()
    ((entry, cleared),) = house.vault.incoming()
    with house.vault.open(entry) as (kept, chunks):
        assert b"".join(chunks) == instance.raw
        assert (kept.arrival, cleared) == (instance.arrival, False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("image_dfl.dcm", "deflated"), ("SC_rgb_jpeg.dcm", "value representation")],
)
def test_what_is_not_understood_goes_to_the_vault_whole(house, name, reason):
    verdict = house.take(shipped(name), 100)

    assert verdict.kind == VerdictKind.STORED
    assert reason in verdict.reason
    assert house.vault.counts()["incoming"] == 1


def test_an_unknown_transfer_syntax_goes_to_the_vault(house):
    instance = shipped("CT_small.dcm")
    odd = written(dataset_of(instance), instance, transfer_syntax_uid="1.2.3.4")

    assert house.take(odd).kind == VerdictKind.STORED
    assert house.vault.counts()["incoming"] == 1


def test_a_header_over_the_limit_goes_to_the_vault(tmp_path):
    house = House(tmp_path, header_limit_bytes=65536)
    dataset = dataset_of(shipped("CT_small.dcm"))
    dataset.add_new(0x00091001, "OB", bytes(70_000))
    instance = written(dataset, shipped("CT_small.dcm"))

    for chunk in (1 << 20, 3000):
        verdict = house.take(instance, chunk)
        assert "longer than the express lane" in verdict.reason
    assert house.vault.counts()["incoming"] == 1


def test_a_cut_dataset_is_quarantined_wherever_it_is_cut(house):
    instance = shipped("CT_small.dcm")
    found = Walk(syntax_of(instance.arrival.transfer_syntax_uid).encoding).look(instance.raw)
    ends = [1, 100, found.element - 3, found.value - 2, found.value + 5, found.value + 20_000]

    for end in ends:
        cut = type(instance)(instance.arrival, instance.raw[:end])
        assert house.take(cut, 997).kind == VerdictKind.QUARANTINED

    assert house.files() == []
    assert len(house.vault.list()) == len(ends)
    for entry in house.vault.list():
        assert "ends before" in entry.reason
        with house.vault.open(entry.id) as (_, chunks):
            assert instance.raw.startswith(b"".join(chunks))


def test_compressed_pixels_without_an_end_are_sealed_whole(house):
    instance = shipped("MR_small_RLE.dcm")
    at = instance.raw.index(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    cut = type(instance)(instance.arrival, instance.raw[:at])

    assert house.take(cut, 501).kind == VerdictKind.QUARANTINED
    (entry,) = house.vault.list()
    with house.vault.open(entry.id) as (_, chunks):
        assert b"".join(chunks) == cut.raw
    assert house.files() == []


def test_compressed_pixels_that_are_not_items_are_sealed_whole(house):
    instance = shipped("MR_small_RLE.dcm")
    at = instance.raw.index(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    broken = type(instance)(instance.arrival, instance.raw[:at] + b"garbage!" * 100)

    assert house.take(broken, 501).kind == VerdictKind.QUARANTINED
    (entry,) = house.vault.list()
    with house.vault.open(entry.id) as (_, chunks):
        assert b"".join(chunks) == broken.raw


def test_a_dataset_that_contradicts_its_command_is_not_kept(house):
    instance = shipped("CT_small.dcm")
    other = written(dataset_of(instance), instance, sop_instance_uid=generate_uid())

    verdict = house.take(other)

    assert verdict.kind == VerdictKind.REJECTED
    assert house.files() == []
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}


def test_deep_nesting_is_quarantined_not_recursed_into(house):
    item = b""
    for _ in range(MAX_NESTING * 5):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
        item = struct.pack("<HH2sHI", 8, 0x2218, b"SQ", 0, len(item)) + item
    instance = shipped("CT_small.dcm")
    deep = type(instance)(instance.arrival, item)

    assert house.take(deep, 50).kind == VerdictKind.QUARANTINED
    (entry,) = house.vault.list()
    assert "nested" in entry.reason


def test_an_identifier_that_fits_no_record_is_quarantined(house):
    long = corrected(shipped("CT_small.dcm"), PatientID="X" * 3000)

    assert house.take(long).kind == VerdictKind.QUARANTINED
    assert house.files() == []


def test_an_aborted_instance_leaves_nothing(house):
    for name in ("CT_small.dcm", "image_dfl.dcm", "MR_small_RLE.dcm"):
        instance = shipped(name)
        for end in (0, 10, len(instance.raw) // 2, len(instance.raw)):
            incoming = house.custody.begin(instance.arrival)
            incoming.write(instance.raw[:end])
            incoming.abort()
            incoming.abort()

    assert house.files() == []
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}
    assert not [p for p in house.base.rglob("*") if p.is_file()]


def test_the_callers_buffer_may_be_reused(house):
    instance = shipped("MR_small_implicit.dcm")
    buffer = bytearray(700)

    incoming = house.custody.begin(instance.arrival)
    for at in range(0, len(instance.raw), 700):
        part = instance.raw[at : at + 700]
        buffer[: len(part)] = part
        incoming.write(memoryview(buffer)[: len(part)])
        buffer[:] = bytes(700)
    incoming.commit()

    (path,) = house.files()
    assert dcmread(path).PixelData == dataset_of(instance).PixelData
    assert house.store.record_of(path).received == house.received(instance.raw)


def test_listing_the_quarantine_names_nobody(house):
    instance = shipped("MR_truncated.dcm")
    sent = dataset_of(instance)
    house.take(instance)

    (entry,) = house.vault.list()

    shown = repr(entry)
    for secret in (sent.PatientID, str(sent.PatientName), sent.StudyInstanceUID):
        assert secret not in shown
    assert instance.arrival.sop_instance_uid not in shown
    assert entry.sender == "PACS"
    assert entry.size_bytes == len(instance.raw)
    assert entry.advice


@pytest.mark.parametrize("name", NATIVE + COMPRESSED + WITHOUT_PIXELS + RISKY)
@pytest.mark.parametrize(("size", "at_once"), [(61, 2000), (700, 50)])
def test_parts_handed_over_together_are_the_bytes_handed_over_singly(
    house, tmp_path, name, size, at_once
):
    instance = shipped(name)
    whole = House(tmp_path / "whole")
    expected = whole.take(instance)
    view = memoryview(instance.raw)
    parts = [view[at : at + size] for at in range(0, len(view), size)]

    incoming = house.custody.begin(instance.arrival)
    for at in range(0, len(parts), at_once):
        incoming.write(*parts[at : at + at_once])
    verdict = incoming.commit()

    assert verdict == expected
    (left, *_), (right, *_) = (where.files() or [None] for where in (house, whole))
    assert (left is None) is (right is None)
    if left is not None:
        assert without_record(left.read_bytes()) == without_record(right.read_bytes())
        received = [where.store.record_of(where.files()[0]) for where in (house, whole)]
        assert received[0] == received[1]
