import asyncio
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from coordinator.config import load as load_centre
from deploy.audit.cli import audit
from gateway.app.outbound import build_notary
from gateway.config import load
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
    house = Gateway(tmp_path / "house")
    house("policy", "pin-vendor", "acme", "ab" * 32)
    return house


def exchanged(gateway, hub, *, times=1, days_ago=0):
    """Let the gateway and a coordinator exchange checkpoints; return the coordinator's settings."""
    then = datetime.now(UTC) - timedelta(days=days_ago)

    async def story():
        async with a_federation(hub) as federation:
            notary = build_notary(load(gateway.settings), "demo")
            notary._now = lambda: then
            for _ in range(times):
                said = CheckpointExchange.FromString(notary.statement().SerializeToString())
                notary.hear(await federation.coordinator.rooms.notary.hear("tongji", said))

    asyncio.run(story())
    return load_centre(hub / "coordinator.toml")


def test_both_houses_export_what_verifies_without_them_and_against_each_other(gateway, tmp_path):
    exchanged(gateway, tmp_path / "hub", times=2)
    ours, theirs = tmp_path / "tongji.jsonl", tmp_path / "centre.jsonl"

    assert radfed_audit("verify", "--home", gateway.home)["chain"] == "unbroken"
    assert radfed_audit("verify", "--home", tmp_path / "hub")["kept"] == 1
    radfed_audit("export", ours, "--home", gateway.home)
    radfed_audit("export", theirs, "--home", tmp_path / "hub")

    found = radfed_audit("verify", ours, "--against", theirs)
    assert found["house"] == "gateway/tongji"
    assert found["kept_there"] == 1
    assert found["checkpoints"] >= 1
    assert radfed_audit("verify", theirs, "--against", ours)["against"] == "gateway/tongji"
    assert gateway.json("audit", "verify")["chain"] == "unbroken"
    assert gateway.json("status")["chain"]["exchanged"]


def test_a_line_changed_left_out_or_cut_off_is_found(gateway, tmp_path):
    exchanged(gateway, tmp_path / "hub")
    export = tmp_path / "tongji.jsonl"
    radfed_audit("export", export, "--home", gateway.home)
    lines = export.read_text().splitlines(keepends=True)
    assert len(lines) > 4

    for place in range(len(lines)):
        export.write_text("".join(lines[:place] + lines[place + 1 :]))
        if '"kept"' not in lines[place]:  # the other house's word is not ours to number
            radfed_audit("verify", export, expect=9 if '"checkpoint"' not in lines[place] else 0)
        export.write_text("".join(lines[:place]))
        radfed_audit("verify", export, expect=9)
    export.write_text("".join(lines).replace("acme", "acne"))
    radfed_audit("verify", export, expect=9)


def test_another_trail_in_its_place_does_not_hold_what_the_coordinator_keeps(gateway, tmp_path):
    exchanged(gateway, tmp_path / "hub")
    theirs = tmp_path / "centre.jsonl"
    radfed_audit("export", theirs, "--home", tmp_path / "hub")
    for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
        (gateway.state / name).unlink(missing_ok=True)
    (gateway.state / "checkpoints.db").unlink()
    gateway("policy", "pin-vendor", "other", "cd" * 32)
    ours = tmp_path / "tongji.jsonl"
    radfed_audit("export", ours, "--home", gateway.home)
    radfed_audit("verify", ours)

    said = radfed_audit("verify", ours, "--against", theirs, expect=9)

    assert "coordinator/demo keeps checkpoint 1" in said["error"]


def test_a_pruned_trail_begins_at_a_signed_checkpoint_and_still_verifies(gateway, tmp_path):
    exchanged(gateway, tmp_path / "hub", days_ago=2)
    gateway("policy", "pin-vendor", "later", "ef" * 32)
    whole = tmp_path / "whole.jsonl"

    made = radfed_audit("prune", whole, "--before", "2100-01-01", "--home", gateway.home)

    assert made["pruned"] >= 1
    assert radfed_audit("verify", whole)["entries"] == made["entries"]
    found = radfed_audit("verify", "--home", gateway.home)
    assert found["begins_after"] == made["begins_after"] > 0
    assert gateway.json("audit", "verify")["chain"] == "unbroken"
    rest = tmp_path / "rest.jsonl"
    radfed_audit("export", rest, "--home", gateway.home)
    assert radfed_audit("verify", rest)["begins_after"] == made["begins_after"]
    assert gateway.json("audit", "ls")[-2]["event"] == "audit_pruned"
    exchanged(gateway, tmp_path / "hub2")  # and goes on being chained

    with sqlite3.connect(gateway.state / "checkpoints.db") as book:
        book.execute("DELETE FROM own")
    radfed_audit("verify", "--home", gateway.home, expect=9)


def test_without_a_checkpoint_of_a_day_that_is_over_nothing_is_pruned(gateway, tmp_path):
    exchanged(gateway, tmp_path / "hub")  # today: a later one takes its place

    said = radfed_audit(
        "prune", tmp_path / "x", "--before", "2100-01-01", "--home", gateway.home, expect=4
    )

    assert "no signed checkpoint" in said["error"]
    assert not (tmp_path / "x").exists()


def test_a_directory_without_a_house_is_named(tmp_path):
    assert "neither" in radfed_audit("verify", "--home", tmp_path, expect=4)["error"]
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    radfed_audit("verify", tmp_path / "odd", expect=9)
    radfed_audit("verify", tmp_path / "absent", expect=3)
