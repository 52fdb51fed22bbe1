import asyncio
import json
import shutil
import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from threading import Event, Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from coordinator.audit import AuditTrail as CentreTrail
from coordinator.cli import site as site_commands
from coordinator.federation.notary import Notary as CentreNotary
from coordinator.link.record import frames
from coordinator.store.checkpoints import Checkpoints
from coordinator.store.database import Database
from gateway.audit import AuditTrail
from gateway.cohort.privacy import Exhausted, NoisyCounts, Price, PrivacyLedger
from gateway.config import Federation, GatewayConfig
from gateway.link.control import Standing
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.notary import Notary, faults, kept_so_far, open_book
from gateway.release.condition import Condition
from gateway.release.ledger import Ledger
from protos.digest import GENESIS, chain_link
from protos.v1.link_pb2 import CheckpointExchange
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital

pytestmark = pytest.mark.flow
NOISE_KEY = b"n" * 32
PRICE = Price(Fraction(1, 200), Fraction(1), Fraction(1, 50))
HOUSE_KEY, CENTRE_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))


class House:
    """A hospital's trail, ledgers and notary, in files that may be put back."""

    def __init__(self, home) -> None:
        self.home = home
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.open()

    def clock(self):
        return self.now

    def open(self) -> None:
        self.trail = AuditTrail.open(self.home / "audit.db", self.clock)
        self.ledger = Ledger.open(self.home / "ledger.db", self.clock)
        self.privacy = PrivacyLedger.open(self.home / "privacy.db", NOISE_KEY, self.clock)
        self.notary = Notary.open(
            self.home / "checkpoints.db", "tongji", "demo", HOUSE_KEY,
            self.trail, self.ledger, self.privacy, self.clock,
        )  # fmt: skip

    def close(self) -> None:
        for room in (self.trail, self.ledger, self.privacy, self.notary._connection):
            room.close()

    def put_back(self, backup) -> None:
        """Take yesterday's files for today's, as a restored virtual machine does."""
        self.close()
        shutil.rmtree(self.home)
        shutil.copytree(backup, self.home)
        self.open()

    def backup(self, place) -> None:
        self.close()
        shutil.copytree(self.home, place)
        self.open()

    def ask(self, question: bytes, requester="anna"):
        return self.privacy.answer(question, requester, PRICE, Fraction(10), lambda: {(): 100})

    def found(self):
        return [event for event in self.trail.events() if event.event == "checkpoint_fault"]


class Centre:
    def __init__(self, home, database) -> None:
        self.home = home
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
        self.trail = CentreTrail.open(home / "audit.db", lambda: self.now)
        self.checkpoints = Checkpoints(database)
        self.notary = CentreNotary(
            self.checkpoints, self.trail, CENTRE_KEY, "demo", lambda: self.now, 0.0
        )

    def found(self):
        return [entry for entry in self.trail.entries() if entry["event"] == "checkpoint_fault"]


@pytest.fixture
def play(tmp_path):
    """Run a story between the two houses."""

    def run(story):
        async def both():
            (tmp_path / "centre").mkdir()
            database = await Database.open(tmp_path / "centre" / "coordinator.db")
            try:
                await story(House(tmp_path / "house"), Centre(tmp_path / "centre", database))
            finally:
                await database.close()

        asyncio.run(both())

    return run


async def exchange(house, centre) -> int:
    """Speak until nobody has anything to say; return how often the hospital spoke."""
    for spoken in range(1, 6):
        said = CheckpointExchange.FromString(house.notary.statement().SerializeToString())
        if not house.notary.hear(await centre.notary.hear("tongji", said)):
            return spoken
    raise AssertionError("they never stop talking")


def rewrite(path, table) -> None:
    """Change the first entry and make the whole chain fit again: what `verify` cannot see."""
    with sqlite3.connect(path) as connection:
        previous = GENESIS
        for number, body in connection.execute(f"SELECT number, body FROM {table}").fetchall():
            raw = (body.encode() if isinstance(body, str) else body).replace(b"one", b"eno")
            changed = raw.decode() if isinstance(body, str) else raw
            previous = chain_link(previous, raw)
            connection.execute(
                f"UPDATE {table} SET body = ?, link = ? WHERE number = ?",
                (changed, previous, number),
            )


def test_each_house_keeps_the_others_newest_and_nothing_is_at_fault(play):
    async def story(house, centre):
        for number in range(4):
            house.trail.record("one", n=number)
            await centre.trail.record("one")
            house.ledger.append("heartbeat", "link", "r", "policy", b"x")
            assert await exchange(house, centre) <= 2
        newest = await centre.checkpoints.newest("gateway/tongji")

        assert newest.number >= 4
        assert house.found() == centre.found() == []
        (kept,) = kept_so_far(house.notary._connection)  # the newest of the day
        assert kept.house == "coordinator/demo"
        assert kept.number >= 4

    play(story)


def test_a_trail_that_a_hospital_rewrote_whole_is_found_by_both(play):
    async def story(house, centre):
        house.trail.record("one")
        await exchange(house, centre)
        house.close()
        rewrite(house.home / "audit.db", "trail")
        house.open()
        house.trail.verify()  # by itself the chain is sound

        await exchange(house, centre)
        await exchange(house, centre)

        assert [fault["whose"] for fault in centre.found()] == ["gateway"]
        assert centre.found()[0]["finding"] == "rewritten"
        assert [event.facts["whose"] for event in house.found()] == ["gateway"]
        assert (await centre.notary.known())[0]["gateway/tongji"].finding == "rewritten"

    play(story)


def test_a_trail_that_the_coordinator_rewrote_whole_is_found_by_both(play):
    async def story(house, centre):
        await centre.trail.record("one")
        await exchange(house, centre)
        centre.trail.close()
        rewrite(centre.home / "audit.db", "audit")
        centre.trail = CentreTrail.open(centre.home / "audit.db", lambda: centre.now)
        centre.notary = CentreNotary(
            centre.checkpoints, centre.trail, CENTRE_KEY, "demo", lambda: centre.now, 0.0
        )
        centre.trail.verify()

        await exchange(house, centre)
        await exchange(house, centre)

        assert {event.facts["whose"] for event in house.found()} == {"coordinator"}
        assert [fault["whose"] for fault in centre.found()] == ["coordinator"]

    play(story)


def test_a_backup_put_back_in_silence_is_noticed_and_refunds_nothing(play, tmp_path):
    async def story(house, centre):
        house.ask(b"1" * 32)
        house.trail.record("one")
        await exchange(house, centre)
        house.backup(tmp_path / "backup")
        for question in (b"2", b"3", b"4"):
            house.ask(question * 32)
            house.trail.record("two")
        await exchange(house, centre)
        spent = house.privacy.spent(2026)
        house.now += timedelta(days=1)
        house.put_back(tmp_path / "backup")
        assert house.privacy.spent(2026) < spent

        await exchange(house, centre)

        assert house.privacy.spent(2026) == spent
        assert house.found()
        assert centre.found()
        assert isinstance(house.ask(b"5" * 32), Exhausted)  # for each requester, too
        assert faults(house.notary._connection)[0].finding == "rewound"

        await exchange(house, centre)  # the coordinator takes the chain as it goes on, and says so
        events = len(house.found()), len(centre.found())
        house.trail.record("three")
        await exchange(house, centre)
        assert (len(house.found()), len(centre.found())) == events

    play(story)


def test_a_restored_ledger_spends_nothing_until_it_is_reconciled(play, tmp_path):
    async def story(house, centre):
        first = house.ask(b"1" * 32)
        await exchange(house, centre)
        house.backup(tmp_path / "backup")
        lost = house.ask(b"2" * 32)
        await exchange(house, centre)
        house.now += timedelta(hours=1)
        house.put_back(tmp_path / "backup")
        house.privacy.put_back()

        refused = house.ask(b"2" * 32)
        assert refused == Exhausted("ledger_unreconciled")
        assert house.ask(b"1" * 32) == first  # what was answered before is told again

        await exchange(house, centre)
        again = house.ask(b"2" * 32)

        assert isinstance(again, NoisyCounts)
        assert house.privacy.spent(2026) == 3 * PRICE.rho
        assert again.cells != lost.cells, "the same noise would meet data that moved"

    play(story)


def test_a_checkpoint_signed_after_the_restoration_reconciles_nothing(play):
    async def story(house, centre):
        house.privacy.put_back()
        house.now += timedelta(seconds=5)

        await exchange(house, centre)

        assert house.ask(b"1" * 32) == Exhausted("ledger_unreconciled")

    play(story)


def test_a_coordinator_put_back_from_a_backup_keeps_up_again(play):
    async def story(house, centre):
        house.trail.record("one")
        await exchange(house, centre)
        backup = await centre.checkpoints.newest("gateway/tongji")
        house.now += timedelta(days=1)
        centre.now += 86_400
        await exchange(house, centre)
        await exchange(house, centre)
        with sqlite3.connect(centre.home / "coordinator.db") as connection:
            connection.execute(
                "DELETE FROM checkpoint WHERE house = ? AND number > ?",
                (backup.house, backup.number),
            )

        assert await exchange(house, centre) == 2

        assert (await centre.checkpoints.newest("gateway/tongji")).number > backup.number + 2
        assert await exchange(house, centre) == 1
        assert house.found() == centre.found() == []

    play(story)


def test_a_finding_is_on_the_trail_before_it_counts_as_told(play):
    async def story(house, centre):
        await exchange(house, centre)
        forged = CheckpointExchange(own=house.notary.statement().own)
        record = house.trail.record

        def no_power(*_event, **_facts):
            raise OSError("no power")

        house.trail.record = no_power
        with pytest.raises(OSError, match="no power"):
            house.notary.hear(forged)
        house.trail.record = record
        house.notary.hear(forged)

        assert [event.facts["finding"] for event in house.found()] == ["forged"]

    play(story)


def test_a_coordinator_that_makes_up_our_checkpoint_charges_nothing(play):
    async def story(house, centre):
        await exchange(house, centre)
        said = await centre.notary.hear("tongji", house.notary.statement())
        said.kept.spent_nano_rho = 10**9

        house.notary.hear(said)

        assert house.privacy.spent(2026) == 0
        assert house.found()[0].facts["finding"] == "rekeyed"

    play(story)


def test_a_gateway_that_signs_for_another_house_is_found(play):
    async def story(house, centre):
        said = house.notary.statement()

        reply = await centre.notary.hear("wuhan", said)

        assert centre.found()[0]["finding"] == "forged"
        assert not reply.HasField("kept")

    play(story)


@contextmanager
def linked(hospital, token):
    config = GatewayConfig(site="tongji", data=hospital.directory)
    credentials = enrol(token, config, hospital.gate, "1.0", "admin")
    notary = Notary.open(
        config.checkpoints_file, "tongji", "demo", HOUSE_KEY,
        hospital.audit, hospital.ledger, hospital.privacy,
    )  # fmt: skip
    condition = Condition(12_345, 55, 100, accepting=True, certificate_days=29.9)
    standing = Standing(lambda: condition, notary, 0.2)
    link = Link(
        credentials, Federation(heartbeat_seconds=0.2), hospital.gate, hospital.desk,
        hospital.directory / "link.json", "1.0", standing=standing,
    )  # fmt: skip
    stop = Event()
    runs = Thread(target=link.run, args=(stop,))
    runs.start()
    try:
        yield
    finally:
        stop.set()
        runs.join(10)


def test_checkpoints_and_condition_travel_over_the_link_and_are_in_the_ledger(tmp_path):
    hospital = Hospital(tmp_path / "house")
    recording = tmp_path / "recording"

    def live(token):
        with linked(hospital, token):
            ends = time.monotonic() + 20
            while True:
                kept = kept_so_far(open_book(tmp_path / "house" / "checkpoints.db"))
                beats = [e for e in hospital.ledger.entries() if e.kind == "heartbeat"]
                told = [e for e in hospital.ledger.entries() if e.kind == "checkpoint"]
                if kept and len(beats) > 2 and len(told) > 2:
                    return
                assert time.monotonic() < ends
                time.sleep(0.05)

    async def story():
        extra = f'[record]\ndirectory = "{recording}"\n'
        async with a_federation(tmp_path / "hub", extra) as federation:
            token = await federation.invited("tongji")
            await asyncio.to_thread(live, token)
            (site,) = await federation.asked(lambda client: client.sites())
            assert site.condition.backlog_digits == 5
            assert site.condition.disk_free_tenths == 5
            assert site.condition.certificate_days == 29
            assert site.checkpoint.house == "gateway/tongji"
            assert not site.chain_fault
            words = ["show", "tongji", "--as", str(tmp_path / "hub" / "operator"), "--json"]
            shown = await asyncio.to_thread(CliRunner().invoke, site_commands, words)
            facts = json.loads(shown.stdout)
            assert facts["backlog"] == "10000 and more"
            assert facts["disk_free"] == "50 %"
            assert facts["chain"] == "kept"
            assert len(facts["checkpoint_link"]) == 64
            assert (
                await asyncio.to_thread(
                    CliRunner().invoke, site_commands, ["show", "x", *words[2:]]
                )
            ).exit_code == 2

    asyncio.run(story())

    sent = [raw for _, raw in frames(recording / "gateway.tongji.bin")]
    kept = [hospital.ledger.payload(entry) for entry in hospital.ledger.entries()]
    assert set(sent) <= set(kept)
    assert not [e for e in hospital.audit.events() if e.event == "checkpoint_fault"]
    hospital.close()


def test_a_house_that_floods_with_wrong_checkpoints_makes_one_event_a_minute(play):
    async def story(house, centre):
        await exchange(house, centre)
        own = house.notary.statement().own
        for number in range(50):
            forged = CheckpointExchange(own=own)
            forged.own.number = 1000 + number
            await centre.notary.hear("tongji", forged)
            house.notary.hear(forged)
            centre.now += 1

        assert len(house.found()) == len(centre.found()) == 1

    play(story)
