"""One house at a time: tables and neighbours of before, under and beside this version."""

import asyncio
import json
import sqlite3
import time
from threading import Event, Thread

import pytest
from alembic import command
from alembic.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine

from coordinator.app.migrating import migrate, plan
from coordinator.app.trail import verify_trail
from coordinator.config import load as load_centre
from coordinator.store.database import MIGRATIONS
from gateway.audit import AuditTrail
from gateway.cohort.privacy import PrivacyLedger
from gateway.config import Federation, GatewayConfig
from gateway.link.control import Standing
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.notary import Notary
from gateway.release.condition import Condition
from protos.digest import GENESIS, chain_link
from protos.v1.link_pb2 import ConnectRequest
from tests.fakes.coordinator_server import FakeCoordinator
from tests.fakes.federation import RunningFederation, connected, make
from tests.fakes.hospital import Hospital

pytestmark = pytest.mark.flow
BEFORE = "0004"
HOUSE_KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def of_before(tables):
    """Make a coordinator's tables as the version before checkpoints had them, with a hospital."""
    engine = create_engine(f"sqlite:///{tables}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
    engine.dispose()
    with sqlite3.connect(tables) as connection:
        connection.execute(
            "INSERT INTO site (name, standing, invited_at) VALUES ('tongji', 'active', 1.0)"
        )


def test_a_coordinators_tables_of_before_are_planned_migrated_and_served(tmp_path):
    hub = tmp_path / "hub"
    make(hub)
    config = load_centre(hub / "coordinator.toml")
    config.data.mkdir(exist_ok=True)
    of_before(config.database_file)

    shown = plan(config)
    assert shown["revision"] == BEFORE
    assert any("heckpoints" in step for step in shown["pending"])
    assert verify_trail(config)["checkpoints"] == 0  # read, though nothing was migrated
    assert plan(config) == shown
    migrate(config)

    async def story():
        federation = RunningFederation(hub, config.listen.public_address)
        await federation.coordinator.start()
        try:
            names = [site.name for site, _ in await federation.coordinator.rooms.fleet.sites()]
            assert names == ["tongji"]
            old = await federation.enrolled("wuhan")  # a gateway that knows no checkpoints
            async with connected(old):
                await asyncio.sleep(0.2)
            assert {m.WhichOneof("body") for m in old.seen} <= {"welcome", "manifest"}
        finally:
            await federation.coordinator.stop()

    asyncio.run(story())
    assert plan(config)["pending"] == []


def test_a_gateways_trail_and_ledger_of_before_go_on(tmp_path):
    body = json.dumps({"at": "2026-01-01T00:00:00+00:00", "event": "one", "facts": {}})
    with sqlite3.connect(tmp_path / "audit.db") as trail:
        trail.execute("CREATE TABLE trail (number INTEGER PRIMARY KEY, body TEXT, link BLOB)")
        link = chain_link(GENESIS, body.encode())
        trail.execute("INSERT INTO trail VALUES (1, ?, ?)", (body, link))
    with sqlite3.connect(tmp_path / "privacy.db") as ledger:
        ledger.execute(
            "CREATE TABLE spent (question BLOB, epoch TEXT, year INTEGER, requester TEXT, "
            "nano_rho INTEGER, at TEXT, PRIMARY KEY (question, epoch))"
        )
        ledger.execute("INSERT INTO spent VALUES (x'01', '2026Q1', 2026, 'anna', 7, '')")

    trail = AuditTrail.open(tmp_path / "audit.db")
    trail.record("two")
    privacy = PrivacyLedger.open(tmp_path / "privacy.db", b"n" * 32)

    assert trail.verify() == 2
    assert privacy.spent_nano(2026) == 7
    assert privacy.waiting_since() is None
    trail.close()
    privacy.close()


def test_a_gateway_beside_a_coordinator_that_knows_no_checkpoints_stays_connected(tmp_path):
    hospital = Hospital(tmp_path / "house")
    with FakeCoordinator() as coordinator:
        config = GatewayConfig(site="hospital-a", data=hospital.directory)
        credentials = enrol(coordinator.invite("hospital-a"), config, hospital.gate, "1", "li")
        notary = Notary.open(
            config.checkpoints_file, "hospital-a", "testfed", HOUSE_KEY, hospital.audit,
            hospital.ledger, hospital.privacy,
        )  # fmt: skip
        condition = Condition(0, 1, 2, accepting=True, certificate_days=1)
        link = Link(
            credentials, Federation(heartbeat_seconds=0.1), hospital.gate, hospital.desk,
            tmp_path / "link.json", "1", standing=Standing(lambda: condition, notary, 0.3),
        )  # fmt: skip
        stop = Event()
        runs = Thread(target=link.run, args=(stop,))
        runs.start()
        coordinator.wait_for(lambda c: len(said(c, "checkpoint")) > 2)
        time.sleep(0.2)
        connections, hellos = link.status.connections, coordinator.hellos
        stop.set()
        runs.join(10)

    assert (connections, hellos) == (1, 1)
    assert said(coordinator, "heartbeat")
    assert not [e for e in hospital.audit.events() if e.event == "checkpoint_fault"]
    hospital.close()


def said(coordinator, body):
    heard = [ConnectRequest.FromString(raw) for name, raw in coordinator.heard if name == "Connect"]
    return [request for request in heard if request.WhichOneof("body") == body]
