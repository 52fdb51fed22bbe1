"""Many long headers at once: a bounded part is buffered, the rest goes to the vault sealed."""

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, dataset_of, shipped, written

pytestmark = pytest.mark.flow


def long_headed(number, size):
    dataset = dataset_of(shipped("CT_small.dcm"))
    dataset.SOPInstanceUID = f"1.2.840.99.{number}"
    dataset.add_new(0x00091010, "OB", b"\0" * size)
    return written(dataset, shipped("CT_small.dcm"))


@pytest.fixture
def house(tmp_path):
    return House(tmp_path, header_memory_bytes=1_000_000)


def test_headers_past_the_bound_go_to_the_vault_and_nothing_is_lost(house):
    instances = [long_headed(number, 100_000) for number in range(12)]
    assert instances[0].arrival.transfer_syntax_uid == ExplicitVRLittleEndian
    open_now = [house.custody.begin(instance.arrival) for instance in instances]
    for incoming, instance in zip(open_now, instances, strict=True):
        incoming.write(instance.raw[:100_000])

    for incoming, instance in zip(open_now, instances, strict=True):
        incoming.write(instance.raw[100_000:])
    verdicts = [incoming.commit() for incoming in open_now]
    house.line(house.index()).run_once()

    assert {verdict.kind for verdict in verdicts} == {VerdictKind.STORED}
    assert sum("in the vault" in verdict.reason for verdict in verdicts) >= 3
    assert house.index().counts()["instances"] == 12


def test_every_way_out_gives_the_memory_back(house):
    instance = long_headed(1, 150_000)
    for _ in range(3):
        broken = house.custody.begin(instance.arrival)
        broken.write(instance.raw[:120_000])
        broken.abort()
    cut = house.custody.begin(instance.arrival)
    cut.write(instance.raw[:120_000])
    assert cut.commit().kind is VerdictKind.QUARANTINED

    verdict = house.take(instance)

    assert verdict.reason == ""  # the express lane


def test_what_an_engine_takes_for_a_moment_counts_as_well(house):
    verdict = house.take(long_headed(1, 250_000))

    assert verdict.reason == "in the vault: other headers fill the memory set aside for them"
    assert house.take(long_headed(2, 150_000)).reason == ""


def test_a_header_the_reference_engine_must_read_has_less_room(house):
    dataset = dataset_of(shipped("CT_small.dcm"))
    dataset.add_new(0x00091010, "OB", b"\0" * 30_000)
    dataset.InstanceNumber = "1\\2"  # the stream engine does not understand two numbers
    instance = written(dataset, shipped("CT_small.dcm"))

    assert "other headers" in house.take(instance).reason
    house.line(house.index()).run_once()

    assert house.index().counts()["instances"] == 1
