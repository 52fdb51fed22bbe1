"""The coordinator's disk: objects by content, tables by migration, a trail that shows changes."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from types import SimpleNamespace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from coordinator.audit import AuditTrail
from coordinator.errors import EnvironmentFault, IntegrityFault, NotFound, TooLarge, WrongMoment
from coordinator.jobs.transfers import Transfers
from coordinator.store.database import Database
from coordinator.store.objects import Objects
from coordinator.store.tables import metadata

pytestmark = pytest.mark.flow

CONTENT = bytes(range(256)) * 20
DIGEST = sha256(CONTENT).digest()


def test_an_object_arrives_in_pieces_that_may_repeat(tmp_path):
    objects = Objects(tmp_path)

    objects.append(DIGEST, "t1", 0, CONTENT[:3000], len(CONTENT))
    objects.append(DIGEST, "t1", 1000, CONTENT[1000:4000], len(CONTENT))
    held = objects.held(DIGEST, "t1")
    objects.append(DIGEST, "t1", held, CONTENT[held:], len(CONTENT))
    size = objects.publish(DIGEST, "t1")

    assert (held, size) == (4000, len(CONTENT))
    assert b"".join(Objects(tmp_path).chunks(DIGEST)) == CONTENT
    assert objects.read(DIGEST, 5000, 10) == CONTENT[5000:5010]
    assert not list((tmp_path / "partial").iterdir())


def test_other_bytes_never_get_the_name(tmp_path):
    objects = Objects(tmp_path)
    objects.append(DIGEST, "t1", 0, b"other", 5)

    with pytest.raises(IntegrityFault):
        objects.publish(DIGEST, "t1")

    assert objects.size(DIGEST) is None
    assert objects.held(DIGEST, "t1") == 0


def test_a_gap_and_an_overrun_are_refused(tmp_path):
    objects = Objects(tmp_path)

    with pytest.raises(WrongMoment, match="resumes at byte 0"):
        objects.append(DIGEST, "t1", 10, b"x", 100)
    with pytest.raises(TooLarge):
        objects.append(DIGEST, "t1", 0, b"x" * 101, 100)
    with pytest.raises(NotFound):
        objects.read(DIGEST, 0, 1)


def test_one_owner_cannot_spoil_anothers_transfer(tmp_path):
    objects = Objects(tmp_path)
    objects.append(DIGEST, "t1", 0, CONTENT[:100], len(CONTENT))

    objects.append(DIGEST, "t2", 0, b"spoiled", len(CONTENT))
    objects.append(DIGEST, "t1", 100, CONTENT[100:], len(CONTENT))

    assert objects.publish(DIGEST, "t1") == len(CONTENT)


def test_an_owner_has_one_transfer_at_a_time(tmp_path):
    objects = Objects(tmp_path)
    other = sha256(b"other").digest()
    objects.append(other, "t1", 0, b"oth", 5)

    objects.keep_only(DIGEST, "t1")

    assert objects.held(other, "t1") == 0


def test_the_migrations_make_exactly_the_tables(tmp_path):
    async def story():
        database = await Database.open(tmp_path / "coordinator.db")
        try:
            async with database.reading() as connection:
                return await connection.run_sync(
                    lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
                )
        finally:
            await database.close()

    assert asyncio.run(story()) == []


def test_a_second_start_finds_the_tables_as_they_are(tmp_path):
    async def story():
        for _ in range(2):
            database = await Database.open(tmp_path / "coordinator.db")
            await database.close()

    asyncio.run(story())

    with sqlite3.connect(tmp_path / "coordinator.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "coordinator.db").write_text("this is not a database, " * 100)

    with pytest.raises(EnvironmentFault, match="cannot be opened"):
        asyncio.run(Database.open(tmp_path / "coordinator.db"))


def test_the_trail_shows_what_was_changed_afterwards(tmp_path):
    async def story():
        trail = AuditTrail.open(tmp_path / "audit.db", lambda: 1.5)
        for number in range(3):
            await trail.record("site_invited", site=f"s{number}", by="operator")
        trail.close()

    asyncio.run(story())
    again = AuditTrail.open(tmp_path / "audit.db", lambda: 2.0)
    whole = again.verify()
    with sqlite3.connect(tmp_path / "audit.db") as connection:
        connection.execute(
            "UPDATE audit SET body = CAST(replace(body, 's1', 's9') AS BLOB) WHERE number = 2"
        )

    assert whole == 3
    with pytest.raises(IntegrityFault, match="entry 2"):
        again.verify()
    again.close()


def test_callers_who_bring_the_same_object_at_once_all_succeed(tmp_path):
    for number in range(20):
        objects = Objects(tmp_path / str(number))

        with ThreadPoolExecutor(4) as pool:
            named = list(pool.map(objects.add, [CONTENT] * 8))

        assert named == [DIGEST] * 8


def test_an_object_whose_last_byte_came_before_a_crash_is_whole(tmp_path):
    objects = Objects(tmp_path)
    objects.append(DIGEST, "t1", 0, CONTENT[:4000], len(CONTENT))
    assert not objects.is_whole(DIGEST, "t1")
    objects.append(DIGEST, "t1", 4000, CONTENT[4000:], len(CONTENT))

    again = Objects(tmp_path)  # nobody came to publish it

    assert again.is_whole(DIGEST, "t1")
    assert again.size(DIGEST) == len(CONTENT)


def test_asking_where_a_push_stands_ends_one_that_a_crash_left_whole(tmp_path):
    noted = []

    class Noting:
        async def task(self, task_id):
            return SimpleNamespace(site="beihe", task_id=task_id)

        async def round_of(self, _task):
            return SimpleNamespace(weights_size=len(CONTENT))

        async def pushed(self, task_id, digest):
            noted.append((task_id, digest))

    objects = Objects(tmp_path)
    objects.append(DIGEST, "t1", 0, CONTENT, len(CONTENT))
    transfers = Transfers(objects, Noting(), 1 << 20, noted.append)

    held = asyncio.run(transfers.held("beihe", "t1", DIGEST))

    assert held == len(CONTENT)
    assert noted == [("t1", DIGEST), "t1"]
