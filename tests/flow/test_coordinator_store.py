"""The coordinator's disk: objects by content, tables by migration, a trail that shows changes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from threading import enumerate as threads
from types import SimpleNamespace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from coordinator.app.tables import Tables, open_tables, open_trail
from coordinator.config import CoordinatorConfig, Listen, Store
from coordinator.errors import (
    EnvironmentFault,
    IntegrityFault,
    InvalidRequest,
    NotFound,
    TooLarge,
    WrongMoment,
)
from coordinator.jobs.transfers import Transfers
from coordinator.model import JobRecord, JobStage, Standing
from coordinator.store import checkpoints, pulse, sums
from coordinator.store.database import Database
from coordinator.store.jobs import Jobs
from coordinator.store.objects import Objects
from coordinator.store.questions import AskedRecord, Questions, Taken
from coordinator.store.rounds import Rounds
from coordinator.store.sites import IssuedCertificate, Sites
from coordinator.store.tables import metadata
from tests.fakes.postgres import run_sql

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


@asynccontextmanager
async def opened(config: CoordinatorConfig) -> AsyncIterator[Tables]:
    async with AsyncExitStack() as stack:
        yield await open_tables(config, lambda: 1.5, stack)


@pytest.fixture(params=["sqlite", "postgres"])
def config(request, tmp_path):
    url = request.getfixturevalue("shared_url") if request.param == "postgres" else None
    listen = Listen(public_address="127.0.0.1:1")
    return CoordinatorConfig(
        federation="demo", data=tmp_path, keys=tmp_path, listen=listen, store=Store(url=url)
    )


def ours(thing, name, kind, *_rest) -> bool:
    """The lease, the trail and the accounts (PostgreSQL) are no tables of SQLAlchemy's."""
    own = {"lease", "audit", "audit_base", "audit_reserve"}
    table = name if kind == "table" else getattr(getattr(thing, "table", None), "name", "")
    return not (table in own or table.startswith("console_"))


def test_the_migrations_make_exactly_the_tables(config):
    async def story():
        async with opened(config) as tables, tables.database.reading() as connection:
            return await connection.run_sync(
                lambda sync: compare_metadata(
                    MigrationContext.configure(sync, opts={"include_object": ours}), metadata
                )
            )

    assert {checkpoints.checkpoint, pulse.pulse, sums.sum_round} <= set(metadata.tables.values())
    assert asyncio.run(story()) == []


def test_the_stores_say_the_same_on_either_engine(config):
    async def story():
        async with opened(config) as tables:
            sites, questions = Sites(tables.database), Questions(tables.database)
            for serial in ("1", "2"):  # the site is new once
                await sites.invite("alpha", serial, "operator", 1.0, 9.0)
            given = IssuedCertificate("a1", b"chain", 1.0, 5.0)
            renewal = IssuedCertificate("a2", b"chain", 1.0, 9.0, "renewal")
            invited = await sites.invitation("1")
            enrolled = [await sites.enrol(invited, b"csr", given, renewal, "1.0") for _ in range(2)]
            await questions.ask("q", b"\x00body", ["alpha"], 1.0, 9.0, "charite")
            told = [await questions.answer("q", "alpha", 1, b"\xff", 2.0) for _ in range(2)]
            jobs = Jobs(tables.database)
            await jobs.add(a_job(), ["alpha"])
            for signature in (b"one", b"two"):  # the newer replaces the older
                await jobs.review("j", b"key", signature, 3.0)
            reviews = [review.signature for review in await jobs.reviews("j")]
            history = await questions.newest(5)
            return enrolled, told, reviews, history, await sites.serials(), await sites.all()

    enrolled, told, reviews, history, serials, (alpha,) = asyncio.run(story())

    assert enrolled == [True, False]
    assert told == [Taken.NEW, Taken.KNOWN]
    assert reviews == [b"two"]
    assert history == [AskedRecord(b"\x00body", 1.0, 1, 1)]
    assert serials == {"a1": "alpha", "a2": "alpha"}
    assert (alpha.standing, alpha.certificate_expires_at) == (Standing.ACTIVE, 5.0)


def test_a_text_that_cannot_be_stored_is_refused_and_nothing_else_suffers(config):
    nul, number = "t\0x'; DROP TABLE task; --", 1 << 70

    async def story():
        async with opened(config) as tables:
            rounds, jobs = Rounds(tables.database), Jobs(tables.database)
            refused = 0
            for attempt in (rounds.task(nul), jobs.end(nul, JobStage.STOPPED, nul)):
                try:
                    assert not await attempt
                except InvalidRequest:
                    refused += 1
            with pytest.raises((InvalidRequest, OverflowError)):
                await jobs.decide("j", "alpha", number, "", 1.0)
            return refused, await jobs.all()

    refused, left = asyncio.run(story())

    assert refused == (0 if config.store.url is None else 2)
    assert left == []


def a_job() -> JobRecord:
    return JobRecord(
        job_id="j", name="lesions", kind=1, stage=JobStage.OFFERED, rounds=1, round=0,
        bundle_digest=DIGEST, bundle_size=1 << 40, vendor_key=b"k", vendor_signature=b"s",
        weights_digest=DIGEST, weights_size=1, quorum=1, round_seconds=1.0,
        submitted_by="spiffe://demo/vendor/v", submitted_at=1.0, offered_at=1.0,
    )  # fmt: skip


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


def test_the_trail_shows_what_was_changed_afterwards(config):
    async def story():
        async with opened(config) as tables:
            for number in range(3):
                await tables.audit.record("site_invited", site=f"s{number}", by="operator")

    asyncio.run(story())
    again = open_trail(config, lambda: 2.0)
    whole = again.verify()
    if config.store.url is None:
        with sqlite3.connect(config.audit_file) as connection:
            connection.execute(
                "UPDATE audit SET body = CAST(replace(body, 's1', 's9') AS BLOB) WHERE number = 2"
            )
    else:
        changed = "convert_to(replace(convert_from(body, 'UTF8'), 's1', 's9'), 'UTF8')"
        run_sql(config.store.url, f"UPDATE audit SET body = {changed} WHERE number = 2")

    assert whole == 3
    with pytest.raises(IntegrityFault, match="entry 2"):
        again.verify()
    again.close()


def test_a_trail_is_read_in_pages_and_goes_on_where_it_ended(config, monkeypatch):
    monkeypatch.setattr("coordinator.audit.PAGE", 2)

    async def story(numbers):
        async with opened(config) as tables:
            for number in numbers:
                await tables.audit.record("tick", number=number)
            return [entry["number"] for entry in tables.audit.entries()]

    asyncio.run(story(range(3)))

    assert asyncio.run(story(range(3, 5))) == [0, 1, 2, 3, 4]


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


def connections():
    """Return the threads of open connections: each has one of its own."""
    return {thread for thread in threads() if "_connection_worker_thread" in thread.name}


def test_work_that_goes_on_while_the_tables_are_closed_leaves_no_connection(tmp_path):
    others = connections()

    async def last_words(database):
        for site in ("a", "b", "c"):
            await Sites(database).invite(site, "1" + site, "operator", 1.0, 9.0)

    async def story():
        database = await Database.open(tmp_path / "tables.db")
        speaking = asyncio.create_task(last_words(database))
        await asyncio.sleep(0)
        await database.close()
        assert speaking.done()

    asyncio.run(story())

    for thread in connections() - others:
        thread.join(2)
    assert connections() <= others
