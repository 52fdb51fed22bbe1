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
    return House(tmp_path, header_memory_bytes=300_000)


def test_headers_past_the_bound_go_to_the_vault_and_nothing_is_lost(house):
    instances = [long_headed(number, 100_000) for number in range(6)]
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
    assert house.index().counts()["instances"] == 6


def test_every_way_out_gives_the_memory_back(house):
    instance = long_headed(1, 250_000)
    for _ in range(3):
        broken = house.custody.begin(instance.arrival)
        broken.write(instance.raw[:200_000])
        broken.abort()
    cut = house.custody.begin(instance.arrival)
    cut.write(instance.raw[:200_000])
    assert cut.commit().kind is VerdictKind.QUARANTINED

    verdict = house.take(instance)

    assert verdict.reason == ""  # the express lane
