"""The hospital console's server: made when somebody calls, for it is large and mostly alone."""

import time
from hashlib import sha256

import uvicorn

from gateway.app.house import House
from gateway.config import Certified, GatewayConfig
from gateway.config import Console as ConsoleSettings
from gateway.console.pages import Setting, build
from gateway.console.rules import Role
from protos.pages.accounts import Account, Accounts
from protos.pages.served import Read, Shown, Tls, settings
from protos.pages.sessions import Sessions


def make_server(
    config: GatewayConfig, console: ConsoleSettings, accounts: Accounts
) -> tuple[uvicorn.Server, House]:
    """Build the pages and what they show; the TLS files were checked at the start."""
    shown, house = Shown(_whose(console.certified)), House(config)
    setting = Setting(
        config.site,
        house,
        accounts,
        Sessions(time.monotonic),
        over_tls=console.over_tls,
        two_person=console.two_person,
        certified=shown.account,
    )
    tls = None
    if console.certificate is not None and console.private_key is not None:
        tls = Tls(console.certificate, console.private_key, console.client_ca)
    return uvicorn.Server(settings(build(setting), shown, tls)), house


def _whose(certified: tuple[Certified, ...]) -> Read:
    """Return how a certificate is recognised: by its digest, as the settings name it."""
    people = {one.certificate_sha256: one for one in certified}

    def read(der: bytes) -> Account | None:
        one = people.get(sha256(der).hexdigest())
        return None if one is None else Account(one.name, Role(one.role), 0.0)

    return read
