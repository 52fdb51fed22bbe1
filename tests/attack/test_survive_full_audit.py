"""The audit of a full disk: the refusal itself can still be told, in either house."""

import asyncio
import os
import pwd
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from coordinator.audit import AuditTrail as CentreTrail
from coordinator.errors import EnvironmentFault
from coordinator.postgres.lease import Lease
from coordinator.postgres.server import Server
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


def recorded(trail, at_most=20_000):
    """Record until nothing more can be; return how many were, and what the end was."""
    for number in range(at_most):
        try:
            asyncio.run(trail.record("call_refused", rule="rate", caller=f"caller-{number:040}"))
        except (sqlite3.OperationalError, EnvironmentFault) as fault:
            return number, fault
    raise AssertionError("the disk never was full")


def test_a_coordinators_full_disk_leaves_its_trail_room(tmp_path):
    with small_disk(tmp_path / "data", 8) as disk:
        trail = CentreTrail.open(disk / "audit.db", time.time)
        asyncio.run(trail.record("coordinator_started"))
        reserve = disk / "audit.reserve"
        assert reserve.stat().st_size == RESERVE_BYTES
        ballast = fill(disk, 0)

        told, end = recorded(trail)

        assert told > 100
        assert "full" in str(end)
        assert not reserve.exists()
        assert trail.verify() == told + 1
        ballast.unlink()
        asyncio.run(trail.record("room_again"))
        assert trail.verify() == told + 2
        trail.close()
        again = CentreTrail.open(disk / "audit.db", time.time)
        assert again.verify() == told + 2
        again.close()
        assert reserve.stat().st_size == RESERVE_BYTES, "it is set aside anew"


def led(server):
    """Open the trail as the next one who leads."""

    async def taken():
        lease = Lease(server, "centre", 600.0)
        await lease.take(lambda _holder: None)
        await lease.release()
        return lease.token

    return CentreTrail.shared(server, time.time, asyncio.run(taken()))


@pytest.fixture
def tight_server(cluster):
    """A database on a small file system of its own; the server's log of writes is elsewhere."""
    with (
        tempfile.TemporaryDirectory(prefix="tight-") as home,  # where another account may go, too
        small_disk(Path(home) / "disk", 24) as disk,
    ):
        disk.parent.chmod(0o755)
        owner = pwd.getpwnam("postgres")
        os.chown(disk, owner.pw_uid, owner.pw_gid)
        cluster.run("postgres", f"CREATE TABLESPACE tight LOCATION '{disk}'")
        cluster.run("postgres", "CREATE DATABASE tight TABLESPACE tight")
        try:
            yield Server(cluster.url("tight")), disk
        finally:
            cluster.run("postgres", "DROP DATABASE tight WITH (FORCE)")
            cluster.run("postgres", "DROP TABLESPACE tight")


def test_a_full_disk_of_postgresql_leaves_the_trail_room(cluster, tight_server):
    server, disk = tight_server
    trail = led(server)
    asyncio.run(trail.record("coordinator_started"))
    cluster.run("tight", "CHECKPOINT")  # what was copied lies in holes until it is written
    ballast = fill(disk, 0)

    told, end = recorded(trail)

    assert told > 300, end.__cause__
    assert "cannot keep the audit trail" in str(end)
    assert trail.verify() == told + 1
    ballast.unlink()
    asyncio.run(trail.record("room_again"))
    assert trail.verify() == told + 2
    trail.close()
    again = led(server)  # and sets the room aside anew
    assert again.verify() == told + 2
    again.close()
