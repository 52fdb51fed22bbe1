"""A crash between the destruction of a vault entry's key and the removal of its name."""

import os
import threading

import pytest

from gateway.line.custody import VerdictKind
from gateway.vault.cipher import destroy
from gateway.vault.entry import Reason
from tests.fakes.custody_house import House, shipped

pytestmark = pytest.mark.attack


def destroyed_and_cut(path):
    descriptor = os.open(path, os.O_WRONLY)
    destroy(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("place", ["incoming", "quarantine"])
def test_the_next_start_finishes_an_erasure_and_shows_nobody_a_damaged_entry(tmp_path, place):
    house = House(tmp_path)
    house.take(shipped("image_dfl.dcm" if place == "incoming" else "MR_truncated.dcm"))
    (entry,) = (tmp_path / "vault" / place).iterdir()
    destroyed_and_cut(entry)

    house.line(house.index()).run_once()

    assert house.vault.list() == []
    assert house.vault.incoming() == []


def test_a_resend_does_not_take_an_erased_entry_for_its_own(tmp_path):
    house, instance = House(tmp_path), shipped("MR_truncated.dcm")
    house.take(instance)
    (entry,) = (tmp_path / "vault" / "quarantine").iterdir()
    destroyed_and_cut(entry)

    verdict = house.take(instance)

    assert verdict.kind is VerdictKind.QUARANTINED
    (shown,) = house.vault.list()
    with house.vault.open(shown.id) as (kept, chunks):
        assert sum(map(len, chunks)) == kept.size_bytes


def test_a_resend_that_comes_while_its_entry_is_erased_is_kept(tmp_path, monkeypatch):
    house, instance = House(tmp_path), shipped("MR_truncated.dcm")
    house.take(instance)
    (dropped,) = house.vault.list()
    resend = threading.Thread(target=house.take, args=(instance,))

    def destroyed_as_it_comes_again(descriptor):
        destroy(descriptor)
        resend.start()
        resend.join(0.3)  # the key is gone, the name is not

    monkeypatch.setattr("gateway.vault.vault.destroy", destroyed_as_it_comes_again)
    house.vault.drop(dropped.id)
    resend.join()

    (kept,) = house.vault.list()
    with house.vault.open(kept.id) as (label, chunks):
        assert sum(map(len, chunks)) == label.size_bytes


def test_an_entry_that_moves_while_it_is_opened_is_found_where_it_went(tmp_path, monkeypatch):
    house = House(tmp_path)
    house.take(shipped("image_dfl.dcm"))
    ((entry, _),) = house.vault.incoming()
    find = house.vault._find

    def found_and_moved(name):
        path = find(name)
        monkeypatch.undo()
        house.vault.quarantine(name, Reason("moved"))
        return path

    monkeypatch.setattr(house.vault, "_find", found_and_moved)

    with house.vault.open(entry) as (kept, _):
        assert kept.form == "dataset"
