import asyncio
import json
import sqlite3
import zipfile
from contextlib import closing

import pytest
from typer.testing import CliRunner

from coordinator.cli import coordinator as centre_commands
from coordinator.config import load as load_centre
from coordinator.store.database import Database
from gateway.app.support import shape
from gateway.store.index import Index
from gateway.store.migrations import MIGRATIONS
from tests.fakes.federation import a_federation, make
from tests.fakes.hospital import facts
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow
PLANTED = ("Featherstone", "featherstone", "QX471177", "19300101", "1.2.840.60.1", "王小明")


@pytest.fixture
def gateway(tmp_path):
    home = tmp_path / "Featherstone_QX471177"  # a path may hold a name, too
    home.mkdir()
    return Gateway(home)


def centre(home, *words, expect=0):
    settings = ["--config", str(home / "coordinator.toml"), "--json"]
    done = CliRunner().invoke(centre_commands, [*map(str, words), *settings])
    assert done.exit_code == expect, (done.output, done.exception)
    return json.loads(done.stdout)


def read(bundle):
    with zipfile.ZipFile(bundle) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_a_support_bundle_holds_nothing_that_was_planted_and_says_what_it_holds(gateway, tmp_path):
    text = gateway.settings.read_text().replace('name = "pacs"', 'name = "featherstone"')
    gateway.settings.write_text(text.replace('ae_title = "PACS"', 'ae_title = "QX471177"'))
    log = tmp_path / "gateway-王小明.log"
    stamp = "2026-11-25T10:00:00.5Z"
    lines = [
        {"event": "started", "level": "info", "timestamp": stamp, "site": "Featherstone"},
        {"event": "room_failed", "level": "error", "timestamp": stamp, "room": "line",
         "fault": "ValueError", "at": "worker.py:12", "says": "QX471177 of 王小明"},
        {"event": "room_failed", "level": "Featherstone", "timestamp": stamp, "room": "QX471177",
         "fault": "Featherstone", "at": "featherstone.py:1"},
        {"event": "featherstone", "level": "info", "timestamp": stamp},
        {"event": "started", "level": "info", "timestamp": "19300101T10"},
    ]  # fmt: skip
    log.write_text("\n".join(map(json.dumps, lines)) + "\nQX471177 Featherstone^Quentin\n\xff")
    with closing(Index.open(gateway.state / "index.db")) as index:
        index.add([facts(n, patient="featherstone", manufacturer="王小明") for n in range(12)])
    gateway("policy", "pin-vendor", "acme", "ab" * 32, "--by", "featherstone")
    file = tmp_path / "support.zip"

    made = gateway.json("doctor", "--bundle", file, "--log", log)

    held = read(file)
    everything = "\n".join([*held, *held.values()])
    for planted in PLANTED:
        assert planted not in everything
    assert set(made["bundle"]["holds"]) | {"CONTENTS.txt"} == set(held)
    assert all(name in held["CONTENTS.txt"] for name in made["bundle"]["holds"])
    counted = json.loads(held["log.json"])
    assert counted["events"]["2026-11-25T10 error room_failed line ValueError worker.py:12"] == 1
    assert counted["other_lines"] == 4
    assert json.loads(held["status.json"])["stored"]["instances"] == 10.0
    assert json.loads(held["settings.json"])["intake"]["max_associations"] == 300.0
    assert file.stat().st_mode & 0o077 == 0
    gateway("doctor", "--bundle", file, expect=4)


def test_shapes_keep_switches_and_magnitudes_alone():
    found = shape(
        {"on": True, "n": 1234, "says": "Featherstone", "Featherstone": 1, "of": [7, "x"]}
    )

    assert found == {
        "on": True,
        "n": 1000.0,
        "says": "(12 characters)",
        "of": [7.0, "(1 characters)"],
    }


def test_a_doctor_names_what_is_broken_and_hides_nothing_else(gateway):
    assert all(each["ok"] for each in gateway.json("doctor")["checks"])
    with sqlite3.connect(gateway.state / "audit.db") as trail:
        trail.execute("INSERT INTO trail VALUES (1, '{}', x'00')")
    (gateway.state / "policy.toml").write_text("[trust")

    checks = {each["check"]: each for each in gateway.json("doctor", expect=4)["checks"]}

    assert not checks["audit trail"]["ok"]
    assert "altered" in checks["audit trail"]["says"]
    assert not checks["policy"]["ok"]
    assert checks["egress ledger"]["ok"]


def test_a_doctor_tells_a_closed_disk_from_a_damaged_file(gateway):
    Index.open(gateway.state / "index.db").close()
    (gateway.state / "privacy.db").unlink(missing_ok=True)
    (gateway.state / "privacy.db").mkdir()  # as little to be opened as on a full disk

    checks = {each["check"]: each for each in gateway.json("doctor", expect=3)["checks"]}

    assert "the disk is full" in checks["privacy ledger"]["says"]
    assert "damaged" not in checks["privacy ledger"]["says"]


def test_migrations_of_a_gateway_are_shown_and_then_made(gateway):
    Index.open(gateway.state / "index.db").close()
    assert gateway.json("migrate", "--plan")["pending"] == []
    with sqlite3.connect(gateway.state / "index.db") as index:
        index.executescript(
            "DROP TABLE label; DELETE FROM _sqlite_migrations WHERE name = '0002_label'"
        )

    assert gateway.json("migrate", "--plan")["pending"] == ["0002_label"]
    assert gateway.json("migrate", "--plan")["pending"] == ["0002_label"], "a plan does nothing"
    checks = {each["check"]: each["ok"] for each in gateway.json("doctor", expect=3)["checks"]}
    assert not checks["tables"]
    assert gateway.json("migrate") == {"made": ["0002_label"], "pending": []}
    assert len(gateway.json("migrate", "--plan")["applied"]) >= 3
    assert MIGRATIONS


def test_migrations_of_a_coordinator_are_shown_and_then_made(tmp_path):
    make(tmp_path / "hub")
    shown = centre(tmp_path / "hub", "migrate", "--plan")
    assert shown["revision"] is None
    assert shown["pending"][0].startswith("0001 ")

    made = centre(tmp_path / "hub", "migrate")

    assert made["made"] == shown["pending"]
    assert centre(tmp_path / "hub", "migrate", "--plan")["pending"] == []
    assert made["revision"] == shown["pending"][-1].split()[0]


def test_a_coordinators_bundle_and_backup(tmp_path):
    hub = tmp_path / "hub"

    async def story():
        async with a_federation(hub) as federation:
            await federation.enrolled("featherstone")
            made = await asyncio.to_thread(centre, hub, "backup", tmp_path / "backup")
            assert made["left_out"]
            with_keys = await asyncio.to_thread(
                centre, hub, "backup", tmp_path / "backup", "--keys"
            )
            assert not with_keys["left_out"]
            file = tmp_path / "support.zip"
            said = await asyncio.to_thread(centre, hub, "doctor", "--bundle", file)
            assert all(each["ok"] for each in said["checks"])
            assert "featherstone" not in "\n".join(read(file).values())

    asyncio.run(story())

    backup = tmp_path / "backup"
    assert centre(hub, "restore", backup, "--verify")["verdict"]
    centre(hub, "restore", backup, expect=4)  # it is not lost
    new = tmp_path / "new"
    restored = centre(new, "restore", backup)
    assert restored["put_back_yourself"] is None
    assert centre(new, "preflight")["ready"]

    async def sites():
        database = await Database.open(load_centre(new / "coordinator.toml").database_file)
        try:
            from coordinator.store.sites import Sites

            return [site.name for site in await Sites(database).all()]
        finally:
            await database.close()

    assert asyncio.run(sites()) == ["featherstone"]
    content = next(path for path in (backup / "objects").rglob("*") if path.is_file())
    content.write_bytes(b"else")
    centre(hub, "restore", backup, "--verify", expect=9)
