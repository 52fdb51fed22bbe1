"""A coordinator's trail that is pruned while it runs: what is left verifies, and with the rest."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from coordinator.app.process import Coordinator
from coordinator.app.tables import open_trail
from coordinator.config import load as load_centre
from deploy.audit.cli import audit
from gateway.app.outbound import build_notary
from gateway.config import load
from gateway.notary import faults
from protos.v1.link_pb2 import CheckpointExchange
from tests.fakes.federation import a_federation
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow


def radfed_audit(*words, expect=0):
    done = CliRunner().invoke(audit, [*map(str, words), "--json"], env={"USER": "li"})
    assert done.exit_code == expect, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "house").mkdir()
    return Gateway(tmp_path / "house")


@asynccontextmanager
async def a_centre(hub, extra=""):
    """Run a coordinator that signs a checkpoint at each exchange, the day before yesterday."""
    async with a_federation(hub, extra) as federation:
        federation.coordinator.rooms.notary._every = 0.0
        federation.coordinator.rooms.notary._clock = lambda: time.time() - 2 * 86_400
        yield federation.coordinator.rooms


async def exchange(rooms, house):
    said = CheckpointExchange.FromString(house.statement().SerializeToString())
    house.hear(await rooms.notary.hear("tongji", said))


def prune(hub, into, expect=0):
    return radfed_audit("prune", into, "--before", "2100-01-01", "--home", hub, expect=expect)


def test_a_trail_is_pruned_beside_a_running_coordinator_and_goes_on(gateway, tmp_path, tables_in):
    hub, whole, rest, ours = (
        tmp_path / name for name in ("hub", "whole.jsonl", "rest.jsonl", "tongji.jsonl")
    )
    house = build_notary(load(gateway.settings), "demo")

    async def story():
        async with a_centre(hub, tables_in) as rooms:
            await rooms.audit.record("one")
            await exchange(rooms, house)
            await rooms.audit.record("two")
            made = await asyncio.to_thread(prune, hub, whole)
            rooms.notary._clock = time.time
            await rooms.audit.record("three")  # the running house goes on from the command's entry
            await rooms.audit.record("four")
            await exchange(rooms, house)
            await exchange(rooms, house)
            return made, [entry["event"] for entry in rooms.audit.entries()]

    made, events = asyncio.run(story())

    assert made["pruned"] == made["begins_after"] >= 1
    assert events[events.index("two") :][:4] == ["two", "audit_pruned", "three", "four"]
    assert "one" not in events
    assert faults(house._connection) == []
    found = radfed_audit("verify", "--home", hub)
    assert (found["begins_after"], found["chain"]) == (made["begins_after"], "unbroken")
    radfed_audit("export", rest, "--home", hub)
    radfed_audit("export", ours, "--home", gateway.home)
    joined = radfed_audit("verify", rest, "--earlier", whole, "--against", ours)
    assert (joined["begins_after"], joined["entries"]) == (0, found["entries"] + made["pruned"])
    assert radfed_audit("verify", ours, "--against", rest)["against"] == "coordinator/demo"
    assert "no signed checkpoint" in prune(hub, tmp_path / "again", expect=4)["error"]
    radfed_audit("verify", whole, "--earlier", ours, expect=9)  # of another house


def test_a_hospital_that_was_away_when_it_was_pruned_finds_nothing_at_fault(gateway, tmp_path):
    hub, whole = tmp_path / "hub", tmp_path / "whole.jsonl"
    house = build_notary(load(gateway.settings), "demo")

    async def story():
        async with a_centre(hub) as rooms:
            await exchange(rooms, house)
            for number in range(3):  # others speak meanwhile: its checkpoint is not the day's last
                await rooms.audit.record("one", number=number)
                await rooms.notary._own()
            await asyncio.to_thread(prune, hub, whole)
        async with a_federation_again(hub) as rooms:
            await exchange(rooms, house)
            await exchange(rooms, house)
            return [entry["event"] for entry in rooms.audit.entries()]

    events = asyncio.run(story())

    assert "checkpoint_fault" not in events
    assert faults(house._connection) == []
    rest, ours = tmp_path / "rest.jsonl", tmp_path / "tongji.jsonl"
    radfed_audit("export", rest, "--home", hub)
    radfed_audit("export", ours, "--home", gateway.home)
    radfed_audit("verify", rest, "--against", ours)


@asynccontextmanager
async def a_federation_again(hub):
    """Start the coordinator of that directory once more."""
    coordinator = Coordinator(load_centre(hub / "coordinator.toml"), time.time)
    await coordinator.start()
    try:
        yield coordinator.rooms
    finally:
        await coordinator.stop()


def test_without_a_checkpoint_nothing_is_pruned(tmp_path):
    hub = tmp_path / "hub"

    async def story():
        async with a_centre(hub) as rooms:
            await rooms.audit.record("one")

    asyncio.run(story())

    assert "no signed checkpoint" in prune(hub, tmp_path / "x", expect=4)["error"]
    assert not (tmp_path / "x").exists()
    trail = open_trail(load_centre(hub / "coordinator.toml"), lambda: 0.0)
    assert trail.verify() >= 1
    trail.close()
