"""What a receiver has no memory for is stored by the line, in pieces, as the express lane does."""

import pytest
from pydicom import dcmread

from gateway.line import reading, reference
from gateway.model import Lane
from tests.fakes.custody_house import House, corrected, dataset_of, shipped, stream_engine, written

pytestmark = pytest.mark.flow
LIMIT = 65536


@pytest.fixture
def house(tmp_path, monkeypatch):
    for room in (reading, reference):
        monkeypatch.setattr(room, "parse", None)  # nothing is read whole here
    return House(tmp_path, header_limit_bytes=LIMIT)


def long_headed(name="CT_small.dcm", **elements):
    dataset = dataset_of(corrected(shipped(name), **elements))
    dataset.add_new(0x00091001, "LO", "radfed")
    dataset.add_new(0x00091010, "OB", bytes(LIMIT))
    return written(dataset, shipped(name))


def settle(house, **options):
    line = house.line(house.index(), stream=stream_engine(), **options)
    while line.run_once():
        pass
    line.close()


def waiting(house):
    return house.vault.counts()


def test_a_long_header_is_stored_by_the_line_without_reading_the_instance_whole(house):
    instance = long_headed()
    assert "longer than the express lane" in house.take(instance).reason

    settle(house, whole_bytes_at_most=1 << 10)

    (path,) = house.files()
    record = house.store.record_of(path)
    assert record.lane is Lane.EXPRESS
    assert dcmread(path).PixelData == dataset_of(instance).PixelData
    assert waiting(house) == {"incoming": 0, "quarantined": 0}
    assert house.index().counts()["instances"] == 1


@pytest.mark.parametrize("name", ["test-SR.dcm", "JPEG2000.dcm"])
def test_without_pixels_and_with_compressed_ones_too(house, name, monkeypatch):
    instance = long_headed(name)
    house.take(instance)
    if name == "JPEG2000.dcm":
        monkeypatch.undo()  # a secondary look at its pixels is due: it is read whole

    settle(house)

    assert waiting(house)["incoming"] == 0
    assert len(house.files()) + waiting(house)["quarantined"] == 1


def test_its_resend_is_a_duplicate_and_its_correction_supersedes_it(house):
    house.take(long_headed())
    settle(house)

    house.take(long_headed())
    settle(house)
    house.take(long_headed(StudyDescription="corrected"))
    settle(house)

    assert len(house.files()) == 1
    assert waiting(house) == {"incoming": 0, "quarantined": 0}
    assert [e for e, _ in house.trail.events if e == "instance_superseded"] != []


def test_other_pixels_of_its_uid_are_quarantined_once_with_their_reason(house):
    house.take(long_headed())
    settle(house)
    house.take(long_headed(PixelData=b"\1" * 32768))

    settle(house)

    (entry,) = house.vault.list()
    assert entry.reason.startswith("another instance of the same UID")
    assert "find out which one is right" in entry.advice
    assert waiting(house) == {"incoming": 0, "quarantined": 1}
    assert [e for e, _ in house.trail.events].count("instance_quarantined") == 1


def test_a_cut_one_is_quarantined(house):
    instance = long_headed()
    cut = type(instance)(instance.arrival, instance.raw[:-100])
    house.take(cut)

    settle(house)

    (entry,) = house.vault.list()
    assert "cut" in entry.reason or "ends" in entry.reason, entry.reason


def test_a_dataset_of_another_uid_than_its_command_is_quarantined(house):
    instance = long_headed()
    other = long_headed(SOPInstanceUID="1.2.840.99.1")
    house.take(type(instance)(instance.arrival, other.raw))

    settle(house)

    (entry,) = house.vault.list()
    assert "UID is not its command's" in entry.reason


def test_a_full_disk_leaves_it_where_it_is(house, monkeypatch):
    house.take(long_headed())
    monkeypatch.setattr("gateway.line.terms.free_bytes", lambda _: 0)
    line = house.line(house.index(), stream=stream_engine())

    with pytest.raises(OSError, match="No space"):
        line.run_once()
    line.close()
    monkeypatch.undo()

    assert waiting(house) == {"incoming": 1, "quarantined": 0}
