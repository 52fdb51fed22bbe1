"""Two coordinators on one PostgreSQL: whoever leads, the same people come in."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from coordinator.app.accounts import accounts_of, open_accounts
from coordinator.app.tables import open_tables
from coordinator.config import load
from coordinator.errors import EnvironmentFault
from protos.identity import Role
from protos.pages.accounts import Account, Accounts
from protos.pages.proofs import code_at
from tests.fakes.console import PASSWORD, Person
from tests.flow.test_coordinator_standby import a_pair, leads, running, says, until

pytestmark = pytest.mark.flow

CONSOLE = "\n[console]\nport = 0\n"


def kept_before(home: Path, name: str) -> bytes:
    """Make an account as an earlier version kept it, in a file; return its secret."""
    with closing(Accounts.open(load(home / "coordinator.toml").console_file, time.time)) as book:
        token = book.invite(Role.OPERATOR, "test", name=name)
        secret = book.invitation(token).secret
        made = book.accept(token, name, PASSWORD, code_at(secret, time.time() - 30))
    assert isinstance(made, Account)
    return secret


def with_pages(home: Path) -> None:
    settings = home / "coordinator.toml"
    settings.write_text(settings.read_text() + CONSOLE)


def at(home: Path) -> Person:
    return Person(json.loads((home / "said").read_text())["console"])


def test_who_may_come_in_at_one_may_come_in_at_the_standby(tmp_path, shared_url):
    first, second = a_pair(tmp_path, shared_url)
    with_pages(first)
    with_pages(second)
    secret = kept_before(first, "li")
    file = load(first / "coordinator.toml").console_file

    with running(first) as leader:
        until(lambda: leads(first))
        with running(second):
            until(lambda: says(second, "coordinator_stands_by"))
            code = code_at(secret, time.time())
            entered = at(first).log_in("li", secret, code=code)
            wrong = [at(first).log_in("li", secret, password="no").status for _ in range(2)]
            leader.terminate()
            until(lambda: leads(second))
            replayed = at(second).log_in("LI", secret, code=code)
            newer = code_at(secret, time.time() + 30)
            again = at(second).log_in("Li", secret, code=newer)
            people = [one["name"] for one in accounts_of(load(second / "coordinator.toml"))]

    assert entered.path == "/fleet"
    assert not file.exists()
    assert file.with_name("console.db.moved").exists()
    assert wrong == [403, 403]
    assert replayed.status == 403  # a code counts once, whoever led when it was used
    assert again.path == "/fleet"
    assert people == ["li"]
    assert not says(first, "Traceback")
    assert not says(second, "Traceback")


def test_links_locks_and_removals_are_the_same_for_both(tmp_path, shared_url):
    first, second = a_pair(tmp_path, shared_url)
    with_pages(first)
    with running(first):
        until(lambda: leads(first))
    here, there = (open_accounts(load(home / "coordinator.toml")) for home in (first, second))

    with closing(here), closing(there):
        token = here.invite(Role.AUDITOR, "test", name="bo")
        secret = there.invitation(token).secret
        code = code_at(secret, time.time())
        made = there.accept(token, "bo", PASSWORD, code)
        used = here.accept(token, "bo", PASSWORD, code)
        # Failures at one and at the other are counted together.
        for one in (here, there, here, there, here):
            one.admit("bo", "no", "000000", "192.0.2.1")
        locked = there.admit("bo", PASSWORD, code_at(secret, time.time() + 30), "192.0.2.2")
        removed = here.remove("BO")
        after = there.account("bo")

    assert isinstance(made, Account)
    assert isinstance(used, str)
    assert locked.locked
    assert removed
    assert after is None


def test_a_connection_lost_within_a_transaction_leaves_nothing_of_it(tmp_path, shared_url):
    first, _ = a_pair(tmp_path, shared_url)
    config = load(first / "coordinator.toml")

    async def make_the_tables():
        async with AsyncExitStack() as opened:
            await open_tables(config, time.time, opened)

    asyncio.run(make_the_tables())
    book = open_accounts(config)
    with closing(book):
        token = book.invite(Role.AUDITOR, "test", name="bo")
        rows = book._rows

        def cut_in_the_middle():
            with rows.transaction() as turn:
                turn.write("DELETE FROM {0}invitation WHERE expires > ?", (0.0,))
                rows._loop.call_soon_threadsafe(rows._connection.terminate)
                until(rows._connection.is_closed)
                turn.write("INSERT INTO {0}failure (who, at) VALUES (?, ?)", ("half", 0.0))

        with pytest.raises(EnvironmentFault):
            cut_in_the_middle()
        left = rows.read("SELECT who FROM {0}failure")

        assert left == []
        assert book.invitation(token) is not None
