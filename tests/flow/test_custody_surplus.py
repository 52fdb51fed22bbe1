"""Pixel data longer than their header accounts for wait, in whichever lane they come."""

import zlib
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, dataset_of, shipped, written

pytestmark = pytest.mark.flow
NAME = b"Doe^Jane"
PLAIN = ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"]


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def with_pixels(name, change, **attributes):
    instance = shipped(name)
    dataset = dataset_of(instance)
    dataset.PixelData = change(dataset.PixelData)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return written(dataset, instance)


def settled(house):
    house.line(house.index()).run_once()
    return house.vault.list()


@pytest.mark.parametrize("chunk", [1 << 20, 1000])
@pytest.mark.parametrize("name", PLAIN)
def test_a_name_behind_the_pixels_is_quarantined_with_a_reason(house, name, chunk):
    longer = with_pixels(name, lambda pixels: pixels + NAME)

    verdict = house.take(longer, chunk)
    (entry,) = settled(house)

    assert verdict.kind is VerdictKind.STORED
    assert "longer than" in verdict.reason
    assert "longer than" in entry.reason
    assert entry.advice
    assert house.files() == []
    assert NAME not in house.everything_written()


@pytest.mark.parametrize("name", PLAIN)
def test_noughts_behind_the_pixels_name_nobody_and_stay(house, name):
    house.take(with_pixels(name, lambda pixels: pixels + bytes(400)))

    assert settled(house) == []
    (path,) = house.files()
    assert dcmread(path).PixelData.endswith(bytes(400))


def test_the_vaults_lane_measures_what_it_inflates(house):
    longer = with_pixels("CT_small.dcm", lambda pixels: pixels + NAME)
    deflator = zlib.compressobj(wbits=-15)
    raw = deflator.compress(longer.raw) + deflator.flush()
    deflated = replace(longer.arrival, transfer_syntax_uid=str(DeflatedExplicitVRLittleEndian))

    house.take(replace(longer, arrival=deflated, raw=raw))
    (entry,) = settled(house)

    assert "longer than" in entry.reason
    assert house.files() == []


def test_pixels_without_rows_account_for_nothing(house):
    instance = shipped("CT_small.dcm")
    dataset = dataset_of(instance)
    del dataset.Rows

    house.take(written(dataset, instance))
    (entry,) = settled(house)

    assert "longer than" in entry.reason


def test_an_operator_may_release_them(house):
    longer = with_pixels("CT_small.dcm", lambda pixels: pixels + NAME)
    line = house.line(house.index())
    house.take(longer)
    line.run_once()
    (entry,) = house.vault.list()

    house.vault.release(entry.id)
    line.run_once()

    assert house.vault.list() == []
    assert len(house.files()) == 1


@pytest.mark.parametrize("name", PLAIN)
def test_pixels_as_long_as_they_should_be_or_shorter_pass(house, name):
    shorter = with_pixels(name, lambda pixels: pixels[:-100])

    assert house.take(shorter).reason == ""
    assert len(house.files()) == 1
