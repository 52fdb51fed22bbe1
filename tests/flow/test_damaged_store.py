"""A stored file that was changed on the disk: reported, set aside, and no wall to its resends."""

from datetime import UTC, datetime

import pytest

from gateway.line.custody import VerdictKind
from gateway.line.damage import SEAL_BROKEN, set_aside
from gateway.line.express import HELD_DAMAGED
from gateway.store.reindex import reindex
from tests.fakes.custody_house import House, corrected, shipped

pytestmark = pytest.mark.flow

CT = shipped("CT_small.dcm")
OTHERS = [corrected(CT, SOPInstanceUID=f"1.2.840.5.{n}") for n in range(3)]


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    for instance in (CT, *OTHERS):
        house.take(instance)
    return house


def spoil(path):
    raw = bytearray(path.read_bytes())
    raw[1500] ^= 1
    path.write_bytes(raw)


def held(house, instance):
    name = house.engine.pseudo_uid(instance.arrival.sop_instance_uid)
    return next(path for path in house.files() if path.stem == name)


def repair(house, index):
    rebuilt = reindex(house.store, index, at=0.0)
    assert rebuilt.trusts_its_key
    now = datetime.now(UTC)
    return [set_aside(house.store, house.vault, p, house.trail, now) for p in rebuilt.damaged]


@pytest.mark.parametrize("settled", [True, False], ids=["in its folder", "among the arrivals"])
def test_a_resend_is_kept_sealed_until_the_damage_is_set_aside(house, settled):
    index = house.index()
    line = house.line(index)
    line.run_once() if settled else None
    spoil(held(house, CT))

    verdict = house.take(CT)
    entries = repair(house, index)
    again = house.take(CT)
    line.run_once()

    assert (verdict.kind, verdict.reason) == (VerdictKind.QUARANTINED, HELD_DAMAGED.reason)
    assert [house.vault.show(entry).reason for entry in entries] == [SEAL_BROKEN.reason]
    assert again.kind is VerdictKind.STORED
    assert index.counts()["instances"] == 4
    assert ("stored_file_set_aside", entries[0]) in [
        (event, facts.get("entry")) for event, facts in house.trail.events
    ]


def test_a_resend_by_the_vault_lane_waits_for_the_same_reason(tmp_path):
    house = House(tmp_path, header_limit_bytes=100)
    line = house.line(house.index())
    house.take(CT)
    line.run_once()
    line.run_once()
    spoil(held(house, CT))

    house.take(CT)
    line.run_once()

    (waiting,) = house.vault.list()
    assert waiting.reason == HELD_DAMAGED.reason


def test_what_was_set_aside_is_kept_byte_for_byte(house):
    house.line(index := house.index()).run_once()
    path = held(house, CT)
    spoil(path)
    raw = path.read_bytes()

    (entry,) = repair(house, index)

    with house.vault.open(entry) as (_, chunks):
        assert b"".join(chunks) == raw
    assert not path.exists()


def test_releasing_what_was_set_aside_ends_in_quarantine_again(house):
    house.line(index := house.index()).run_once()
    spoil(held(house, CT))
    (entry,) = repair(house, index)

    house.vault.release(entry)
    house.line(index)._emptying.take()

    assert [e.id for e in house.vault.list()] == [entry]


def test_where_most_seals_are_broken_nothing_is_forgotten(house):
    house.line(index := house.index()).run_once()
    for instance in (CT, *OTHERS[:2]):
        spoil(held(house, instance))

    rebuilt = reindex(house.store, index, at=0.0)

    assert not rebuilt.trusts_its_key
    assert index.counts()["instances"] == 4
