"""The lease of a leader: what it fences, when it ends, and how a gateway finds who leads."""

import asyncio
from contextlib import AsyncExitStack
from threading import Event, Thread
from time import monotonic, sleep, time

import pytest
from typer.testing import CliRunner

from coordinator.app.tables import Tables
from coordinator.audit import AuditTrail
from coordinator.cli import coordinator as node
from coordinator.config import load, write_private
from coordinator.postgres.lease import Lease, LeaseLost, look
from coordinator.postgres.server import Server
from coordinator.store.database import Database
from coordinator.store.sites import Sites
from gateway.config import Federation as LinkSettings
from gateway.config import GatewayConfig
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.link.status import read_status
from gateway.policy import Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from tests.fakes.coordinator_server import Authority, FakeCoordinator
from tests.fakes.desk_line import FakeDesk
from tests.fakes.federation import free_port, make

pytestmark = pytest.mark.flow


async def a_term(server: Server, seconds: float, stack: AsyncExitStack) -> Tables:
    """Lead for so long, as one that dies after it."""
    lease = Lease(server, f"holder-{seconds}", seconds)
    await lease.take(lambda _holder: None)
    stack.push_async_callback(lease.release)
    audit = await asyncio.to_thread(AuditTrail.shared, server, time, lease.token)
    stack.callback(audit.close)
    database = await Database.open_shared(server, lease)
    stack.push_async_callback(database.close)
    return Tables(audit, database, lease)


def test_who_lost_the_lease_writes_nothing_more(shared_url):
    server = Server(shared_url)

    async def story():
        async with AsyncExitStack() as stack:
            old = await a_term(server, 0.5, stack)
            await Sites(old.database).invite("alpha", "1", "operator", 1.0, 2.0)
            await old.audit.record("before")
            new = await a_term(server, 30.0, stack)
            await Sites(new.database).invite("beta", "2", "operator", 1.0, 2.0)
            await new.audit.record("after")
            with pytest.raises(LeaseLost):
                await Sites(old.database).invite("gamma", "3", "operator", 1.0, 2.0)
            with pytest.raises(LeaseLost):
                await old.audit.record("too late")
            assert old.lease.lost.is_set()
            names = [site.name for site in await Sites(new.database).all()]
            return names, [entry["event"] for entry in new.audit.entries()]

    assert asyncio.run(story()) == (["alpha", "beta"], ["before", "after"])


def test_nobody_takes_over_while_a_write_of_the_leader_lasts(shared_url):
    server = Server(shared_url)

    async def story():
        async with AsyncExitStack() as stack:
            old = await a_term(server, 0.3, stack)
            next_ = Lease(server, "next", 30.0)
            stack.push_async_callback(next_.release)
            async with old.database.writing():
                taking = asyncio.create_task(next_.take(lambda _holder: None))
                await asyncio.sleep(0.8)
                waits = not taking.done()
            await asyncio.wait_for(taking, 5)
            return waits, old.lease.token, next_.token

    assert asyncio.run(story()) == (True, 1, 2)


def test_a_leader_without_its_server_stops_leading_before_another_may(shared_url, cluster):
    server = Server(shared_url)

    async def story():
        lease = Lease(server, "cut off", 1.0)
        await lease.take(lambda _holder: None)
        keeping = asyncio.create_task(lease.keep())
        await asyncio.sleep(1.5)
        kept = not keeping.done()
        await asyncio.to_thread(cluster.shut, shared_url)
        began = monotonic()
        await asyncio.wait_for(keeping, 3)
        return kept, monotonic() - began

    kept, took = asyncio.run(story())

    assert kept
    assert took <= 1.0


def test_a_gateway_finds_the_standby_and_goes_back_to_nobody_else(tmp_path):
    authority = Authority()
    with FakeCoordinator(authority) as first:
        config = GatewayConfig(site="hospital-a", data=tmp_path)
        gate = Gate(Policy, Ledger.open(config.ledger_file), UpdateShelf(tmp_path / "updates"), ())
        invited = first.invite("hospital-a")
        credentials = enrol(invited, config, gate, "1.0", "admin")
        second, stranger = FakeCoordinator(authority), FakeCoordinator(Authority())
        with stranger, second:
            settings = LinkSettings(
                standbys=(stranger.address, second.address), reconnect_seconds_at_most=0.5
            )
            desk, board = FakeDesk(tmp_path / "objects"), tmp_path / "link.json"
            link, stop = Link(credentials, settings, gate, desk, board, "1.0"), Event()
            runs = Thread(target=link.run, args=(stop,))
            runs.start()
            try:
                until(lambda: link.is_connected)
                began_at = link.status.coordinator
                first.stop()
                until(lambda: second.hellos == 1 and link.is_connected)
            finally:
                first.start()  # for its own end
                stop.set()
                runs.join(10)

    assert began_at == first.address
    assert read_status(board).coordinator == second.address
    assert stranger.hellos == 0  # of another root: nothing was said to it
    assert (stranger.heard, second.heard[0][0]) == ([], "Connect")


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ('url = "postgresql://radfed:s3cret@db/radfed"', "password_file"),
        ('url = "mysql://db/radfed"', "store.url"),
        ('password_file = "x"', "needs `url`"),
        ('url = "postgresql://radfed@db/radfed"\npassword_file = "open"', "chmod 600"),
        ('url = "postgresql://radfed@db/radfed"\npassword_file = "absent"', "missing"),
    ],
)
def test_a_store_that_cannot_be_is_one_sentence_without_its_secret(tmp_path, store, words):
    make(tmp_path / "c", f"[store]\n{store}\n")
    (tmp_path / "c" / "open").write_text("s3cret")

    done = CliRunner().invoke(
        node, ["preflight", "--config", str(tmp_path / "c" / "coordinator.toml")]
    )

    assert done.exit_code == 4
    assert words in done.stderr
    assert "s3cret" not in done.stderr


def test_a_server_that_is_not_there_is_exit_3(tmp_path):
    make(tmp_path / "c", f'[store]\nurl = "postgresql://radfed@127.0.0.1:{free_port()}/radfed"\n')

    for command in ("preflight", "status", "run"):
        words = [command, "--config", str(tmp_path / "c" / "coordinator.toml")]
        done = CliRunner().invoke(node, words)

        assert done.exit_code == 3, command
        assert "PostgreSQL at 127.0.0.1 cannot be reached" in done.stderr


def test_a_server_that_lets_nothing_be_made_is_exit_3(tmp_path, shared_url, cluster):
    cluster.run("postgres", "CREATE ROLE guest LOGIN")
    url = shared_url.replace("radfed@", "guest@")
    make(tmp_path / "c", f'[store]\nurl = "{url}"\n')

    done = CliRunner().invoke(node, ["run", "--config", str(tmp_path / "c" / "coordinator.toml")])

    assert done.exit_code == 3
    assert "refuses the coordinator: permission denied" in done.stderr


def test_the_password_is_read_from_its_file(tmp_path, shared_url):
    make(tmp_path / "c", f'[store]\nurl = "{shared_url}"\npassword_file = "secret"\n')
    write_private(tmp_path / "c" / "secret", b"s3cret\n")

    server = Server.of(load(tmp_path / "c" / "coordinator.toml"))

    assert server.password == "s3cret"
    assert "s3cret" not in repr(server) + str(server)
    assert asyncio.run(look(server)) is None


def until(claim, seconds: float = 30.0) -> float:
    """Wait until a claim holds; return how long that took."""
    began = monotonic()
    while not claim():
        assert monotonic() < began + seconds, "it did not come true in time"
        sleep(0.05)
    return monotonic() - began
