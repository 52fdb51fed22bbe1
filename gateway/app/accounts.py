"""The console's accounts, as commands and the running console use them."""

import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from gateway.app.build import build_audit
from gateway.app.process import is_running, read_state
from gateway.config import GatewayConfig
from gateway.console.rules import Role
from gateway.errors import ConfigurationFault
from protos.pages.accounts import Accounts


def open_accounts(config: GatewayConfig) -> Accounts:
    return Accounts.open(config.console_file, time.time)


def invite_person(config: GatewayConfig, by: str, *, decides: bool) -> dict[str, Any]:
    """Return a one-time link, for one person."""
    if config.console is None:
        raise ConfigurationFault("the settings have no [console]: add it, and restart the gateway")
    role = Role.STEWARD if decides else Role.READER
    with closing(open_accounts(config)) as accounts:
        token = accounts.invite(role, by)
    with closing(build_audit(config)) as audit:
        audit.record("console_invited", role=str(role), by=by)
    running = is_running(config.run_dir / "lock")
    where = read_state(config.run_dir / "node.json").get("console") if running else None
    scheme = "https" if config.console.over_tls else "http"
    address = where or f"{scheme}://{config.console.host}:{config.console.port}"
    return {"role": str(role), "link": f"{address}/enter/{token}"}


def accounts_of(config: GatewayConfig) -> list[dict[str, Any]]:
    with closing(open_accounts(config)) as accounts:
        return [
            {
                "name": one.name,
                "role": str(one.role),
                "since": datetime.fromtimestamp(one.made_at, UTC).isoformat(timespec="seconds"),
            }
            for one in accounts.everyone()
        ]


def remove_account(config: GatewayConfig, name: str, by: str) -> dict[str, Any]:
    with closing(open_accounts(config)) as accounts:
        if not accounts.remove(name):
            raise ConfigurationFault(
                f"there is no account {name!r}: see `radfed gateway console ls`"
            )
    with closing(build_audit(config)) as audit:
        audit.record("console_account_removed", account=name, by=by)
    return {"removed": name}
