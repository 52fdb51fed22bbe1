"""Backup, restore and migration of a coordinator whose tables are on PostgreSQL; and moves."""

import asyncio
import json
import sqlite3
from contextlib import closing
from hashlib import sha256

import pytest
import structlog
from typer.testing import CliRunner

from coordinator.api.parse import parse_question
from coordinator.app.logs import configure
from coordinator.app.migrating import pending
from coordinator.app.trail import verify_trail
from coordinator.cli import coordinator as commands
from coordinator.config import load
from coordinator.store.objects import Objects
from tests.fakes.federation import a_federation, connected, make
from tests.fakes.postgres import run_sql

pytestmark = pytest.mark.flow

OBJECT = b"weights of a model" * 1000
PUBLIC = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
OF_A_PROCESS = {"lease", "audit_reserve"}


@pytest.fixture(autouse=True)
def _logs_on_stderr():
    """The coordinator of these tests runs in the process whose commands' output is read."""
    configure()
    yield
    structlog.reset_defaults()


def centre(home, *words, expect=0):
    settings = ["--config", str(home / "coordinator.toml"), "--json"]
    done = CliRunner().invoke(commands, [*map(str, words), *settings])
    assert done.exit_code == expect, (done.output, done.exception)
    return json.loads(done.stdout)


def on(url, objects=None):
    apart = f'objects = "{objects}"\n' if objects else ""
    return f'[store]\nurl = "{url}"\n{apart}'


async def worked(hub, extra, meanwhile=lambda: None):
    """Run a coordinator that has something in its tables, and do a thing while it runs."""
    async with a_federation(hub, extra) as federation:
        gateway = await federation.enrolled("tongji")
        await federation.enrolled("union")
        async with connected(gateway):
            asked = parse_question("Modality = 'CT'", [], "patients")
            await federation.asked(lambda client: list(client.ask(asked, deadline_seconds=2)))
        Objects(load(hub / "coordinator.toml").objects_dir).add(OBJECT)
        for number in range(3):
            await federation.coordinator.rooms.audit.record("noted", number=number)
        return await asyncio.to_thread(meanwhile)


def rows(url):
    """Return every row of every table, but what says who leads just now."""
    names = [str(name) for (name,) in run_sql(url, PUBLIC) if name not in OF_A_PROCESS]
    return {name: sorted(map(repr, run_sql(url, f"SELECT * FROM {name}"))) for name in names}


def settings_on(home, like, extra):
    """Make a coordinator's directory anew, with the same names and keys, and other tables."""
    home.mkdir()
    text = (like / "coordinator.toml").read_text()
    (home / "coordinator.toml").write_text(text.partition("\n[store]")[0] + "\n" + extra)


def test_a_backup_of_postgresql_is_taken_as_it_runs_and_put_back_elsewhere(cluster, tmp_path):
    hub, backup, url = tmp_path / "hub", tmp_path / "backup", cluster.database()
    extra = on(url, tmp_path / "objects")

    made = asyncio.run(worked(hub, extra, lambda: centre(hub, "backup", backup, "--keys")))

    assert not made["left_out"]
    assert centre(hub, "restore", backup, "--verify")["verdict"] == "every content is what it was"
    assert "in place of nothing" in centre(hub, "restore", backup, expect=4)["error"]
    new, other = tmp_path / "new", cluster.database()
    settings_on(new, hub, on(other, tmp_path / "other"))
    centre(new, "restore", backup)
    before, after = rows(url), rows(other)
    assert set(before) == set(after) >= {"site", "question", "asked", "certificate", "audit"}
    assert after["site"] == before["site"] != []
    assert after["asked"] == before["asked"] != []
    assert set(after["audit"]) <= set(before["audit"])  # the other went on
    assert len(after["audit"]) > 5
    name = sha256(OBJECT).digest()
    assert b"".join(Objects(tmp_path / "other").chunks(name)) == OBJECT
    assert centre(new, "preflight")["ready"]
    assert verify_trail(load(new / "coordinator.toml"))["chain"] == "unbroken"
    assert "in place of nothing" in centre(new, "restore", backup, expect=4)["error"]


def test_tables_move_from_a_file_to_postgresql_and_back(cluster, tmp_path):
    hub, first, second = (tmp_path / name for name in ("hub", "first", "second"))
    asyncio.run(worked(hub, "", lambda: centre(hub, "backup", first, "--keys")))
    url, moved, back = cluster.database(), tmp_path / "moved", tmp_path / "back"
    settings_on(moved, hub, on(url))
    centre(moved, "restore", first)
    assert run_sql(url, "SELECT name FROM site ORDER BY name") == [("tongji",), ("union",)]

    centre(moved, "backup", second, "--keys")
    settings_on(back, hub, "")
    centre(back, "restore", second)

    for name in ("coordinator.db", "audit.db"):
        with (
            closing(sqlite3.connect(hub / "data" / name)) as old,
            closing(sqlite3.connect(back / "data" / name)) as new,
        ):
            sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            tables = [table for (table,) in new.execute(sql)]
            assert tables == [table for (table,) in old.execute(sql)]
            for table in tables:
                here, there = (set(db.execute(f"SELECT * FROM {table}")) for db in (new, old))
                assert here <= there if table in {"audit", "site"} else here == there, table
    assert verify_trail(load(back / "coordinator.toml"))["chain"] == "unbroken"
    name = sha256(OBJECT).digest()
    assert b"".join(Objects(back / "data" / "objects").chunks(name)) == OBJECT


def test_a_backup_that_was_altered_fills_nothing(cluster, tmp_path):
    hub, backup = tmp_path / "hub", tmp_path / "backup"
    asyncio.run(worked(hub, on(cluster.database()), lambda: centre(hub, "backup", backup)))
    (listed,) = backup.glob("backup-*.json")
    saved = {each["path"]: each for each in json.loads(listed.read_text())["files"]}
    digest = saved["data/audit.db"]["sha256"]
    content = backup / "objects" / digest[:2] / digest
    content.write_bytes(content.read_bytes().replace(b"noted", b"other"))
    new, url = tmp_path / "new", cluster.database()
    settings_on(new, hub, on(url))

    centre(hub, "restore", backup, "--verify", expect=9)
    centre(new, "restore", backup, expect=9)

    assert rows(url) == {}


def test_nothing_is_backed_up_where_nobody_has_led(shared_url, tmp_path):
    make(tmp_path / "hub", on(shared_url))

    said = centre(tmp_path / "hub", "backup", tmp_path / "backup", expect=4)

    assert "nothing to save" in said["error"]


def test_migrations_on_postgresql_are_shown_and_then_made_where_nobody_leads(shared_url, tmp_path):
    hub = tmp_path / "hub"
    make(hub, on(shared_url))
    shown = centre(hub, "migrate", "--plan")
    assert (shown["revision"], shown["pending"]) == (None, pending(None))

    made = centre(hub, "migrate")

    assert made["made"] == shown["pending"]
    assert centre(hub, "migrate", "--plan")["pending"] == []
    again = tmp_path / "again"

    async def story():
        def refused():
            settings_on(again, hub, on(shared_url))
            backup = tmp_path / "backup"
            centre(tmp_path / "led", "backup", backup)
            centre(again, "restore", backup, expect=3)
            return centre(again, "migrate", expect=3)["error"]

        return await worked(tmp_path / "led", on(shared_url), refused)

    assert "stop the coordinators first" in asyncio.run(story())
    assert centre(hub, "doctor")["checks"]
