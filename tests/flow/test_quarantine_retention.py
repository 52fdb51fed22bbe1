"""Quarantine is kept for its time, then erased on the trail; what still waits elsewhere is not."""

import os
import time

import pytest

from gateway.vault.entry import Reason
from tests.fakes.custody_house import House, shipped

pytestmark = pytest.mark.flow

DAY = 86_400
CT = shipped("CT_small.dcm")


class Clock:
    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def quarantine_one(house, number=1):
    """Give it a dataset that is cut off."""
    cut = CT.raw[: 3000 + number]
    house.take(type(CT)(CT.arrival, cut))
    return house.vault.list()[-1].id


def expired(house):
    return [facts["entry"] for event, facts in house.trail.events if event == "quarantine_expired"]


def test_an_entry_is_erased_after_its_days_and_that_is_on_the_trail(house):
    entry, clock = quarantine_one(house), Clock()
    line = house.line(house.index(), keep_days=90, clock=clock)

    clock.now += 89 * DAY
    line.run_once()
    assert expired(house) == []
    clock.now += 2 * DAY
    line.run_once()

    assert expired(house) == [entry]
    assert house.vault.list() == []
    assert not list((house.base / "vault").rglob(f"{entry}*"))


def test_zero_days_keep_for_ever(house):
    quarantine_one(house)
    clock = Clock()
    line = house.line(house.index(), keep_days=0, clock=clock)

    clock.now += 10_000 * DAY
    line.run_once()

    assert len(house.vault.list()) == 1


def test_an_entry_that_was_tried_again_has_its_time_again(house):
    entry = quarantine_one(house)
    house.vault.release(entry)
    house.vault.quarantine(entry, Reason("refused again"))
    why = house.base / "vault/quarantine" / f"{entry}.why"
    clock = Clock()
    os.utime(why, (clock.now + 80 * DAY,) * 2)
    line = house.line(house.index(), keep_days=90, clock=clock)

    clock.now += 100 * DAY
    line.run_once()
    assert len(house.vault.list()) == 1
    clock.now += 71 * DAY
    line.run_once()

    assert house.vault.list() == []


def test_an_entry_that_does_not_open_expires_too(house):
    entry, clock = quarantine_one(house), Clock()
    path = house.base / "vault/quarantine" / f"{entry}.sealed"
    path.write_bytes(path.read_bytes()[:-100] + b"x" * 100)
    line = house.line(house.index(), keep_days=90, clock=clock)

    clock.now += 91 * DAY
    line.run_once()

    assert expired(house) == [entry]


def test_the_vault_is_looked_through_once_an_hour(house):
    clock = Clock()
    line = house.line(house.index(), keep_days=1, clock=clock)
    clock.now += 2 * DAY
    line.run_once()
    quarantine_one(house)

    clock.now += 3000
    line.run_once()
    assert len(house.vault.list()) == 1
    clock.now += 700
    line.run_once()

    assert house.vault.list() == []
