"""The audit of a full disk: the refusal itself can still be told."""

import sqlite3

import pytest

from gateway.audit import RESERVE_BYTES, AuditTrail
from tests.chaos.full_disks import can_mount, fill, small_disk

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk"),
]


def record(trail, times):
    for _ in range(times):
        trail.record("offer_refused", rule="disk_full")


def test_a_full_disk_leaves_the_trail_room_for_what_was_refused(tmp_path):
    with small_disk(tmp_path / "data", 8) as disk:
        trail = AuditTrail.open(disk / "audit.db")
        trail.record("gateway_started")
        reserve = disk / "audit.reserve"
        assert reserve.stat().st_size == RESERVE_BYTES
        ballast = fill(disk, 0)

        for number in range(200):
            trail.record("offer_refused", number=number, rule="disk_full")
            if not reserve.exists() and number > 100:
                break

        assert not reserve.exists(), "it was not needed: the disk was not full"
        assert trail.verify() > 100
        with pytest.raises(sqlite3.OperationalError):  # the reserve has an end, and says so
            record(trail, 5000)
        known = trail.verify()

        ballast.unlink()
        trail.record("room_again")
        assert trail.verify() == known + 1
        trail.close()
        AuditTrail.open(disk / "audit.db").close()
        assert reserve.stat().st_size == RESERVE_BYTES, "it is set aside anew"
