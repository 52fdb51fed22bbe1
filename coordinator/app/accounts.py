"""The console's accounts, as commands and the running console use them."""

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from coordinator.app.tables import open_trail
from coordinator.config import CoordinatorConfig
from coordinator.errors import ConfigurationFault, NotFound
from coordinator.postgres.account_rows import SharedAccounts
from coordinator.postgres.server import Server
from coordinator.registry.rules import invited_person
from protos.pages.accounts import Accounts
from protos.pages.served import in_url

log = structlog.get_logger()


def open_accounts(config: CoordinatorConfig, token: int = 0) -> Accounts:
    """Open them where the tables lie; `token` is a leader's number, whose writes are fenced."""
    server = Server.of(config)
    if server is None:
        return Accounts.open(config.console_file, time.time)
    accounts = Accounts(SharedAccounts(server, token), time.time)
    if config.console_file.exists():
        _move_in(config.console_file, accounts)
    return accounts


def _move_in(file: Path, accounts: Accounts) -> None:
    """Bring in what an earlier version kept on this machine; who is known there already stays."""
    with closing(Accounts.open(file, time.time)) as earlier:
        accounts.take_in(earlier)
    file.rename(file.with_name(f"{file.name}.moved"))
    log.info("accounts_moved_in")


def invite_person(
    config: CoordinatorConfig, role: str, name: str, organisation: str, by: str
) -> dict[str, Any]:
    """Return a one-time link, for one person under one name."""
    console = config.console
    if console is None:
        raise ConfigurationFault("the settings have no [console]: add it, and restart")
    known = invited_person(role, name, organisation)
    with closing(open_accounts(config)) as accounts:
        token = accounts.invite(known, by, name=name, organisation=organisation)
    _note(config, "console_invited", account=name, role=str(known), by=by)
    scheme = "https" if console.over_tls else "http"
    address = f"{scheme}://{in_url(console.host)}:{console.port}"
    return {"name": name, "role": str(known), "link": f"{address}/enter/{token}"}


def accounts_of(config: CoordinatorConfig) -> list[dict[str, Any]]:
    with closing(open_accounts(config)) as accounts:
        return [
            {
                "name": one.name,
                "role": one.role,
                "organisation": one.organisation,
                "since": datetime.fromtimestamp(one.made_at, UTC).isoformat(timespec="seconds"),
            }
            for one in accounts.everyone()
        ]


def remove_account(config: CoordinatorConfig, name: str, by: str) -> dict[str, Any]:
    with closing(open_accounts(config)) as accounts:
        if not accounts.remove(name):
            raise NotFound(f"there is no account {name!r}: see `radfed coordinator console ls`")
    _note(config, "console_account_removed", account=name, by=by)
    return {"removed": name}


def _note(config: CoordinatorConfig, event: str, **facts: str) -> None:
    """Put it on the trail; on PostgreSQL the leader alone writes, and names the inviter later."""
    if config.store.url is not None:
        return
    with closing(open_trail(config, time.time)) as trail:
        trail.note(event, **facts)
