"""The hospital console: served by one thread, on the address and over the TLS the settings name."""

import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import uvicorn

from gateway.app.accounts import open_accounts
from gateway.app.house import House
from gateway.config import Certified, GatewayConfig
from gateway.config import Console as ConsoleSettings
from gateway.console.pages import Setting, build
from gateway.console.rules import Role
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault
from gateway.intake.sockets import listen_on
from gateway.keys import read_private
from pages.accounts import Account, Accounts
from pages.served import Read, Shown, Tls, TlsUnusable, in_url, settings
from pages.sessions import Sessions

FIRST_SECONDS = 3600.0  # a first link that nobody opened is worth nothing after that


@dataclass(frozen=True, slots=True)
class ConsoleLink:
    address: str
    first_link: str | None  # makes the first account; None where there is one
    file: Path  # where it is written, for the gateway's account alone


def start_console(config: GatewayConfig, stop: threading.Event) -> ConsoleLink | None:
    """Serve the pages until `stop`; None where the settings have no [console]."""
    console = config.console
    if console is None:
        return None
    listening = listen_on(console.host, console.port)
    accounts = open_accounts(config)
    shown = Shown(_whose(console.certified))
    house = House(config)
    setting = Setting(
        config.site,
        house,
        accounts,
        Sessions(time.monotonic),
        over_tls=console.over_tls,
        two_person=console.two_person,
        certified=shown.account,
    )
    server = uvicorn.Server(_settings(console, setting, shown))

    def serve() -> None:
        server.run(sockets=[listening])

    scheme = "https" if console.over_tls else "http"
    address = f"{scheme}://{in_url(console.host)}:{listening.getsockname()[1]}"
    link = ConsoleLink(address, _first_link(accounts, address), config.console_link_file)
    if link.first_link is not None:
        replace_durably(link.file, f"{link.first_link}\n".encode())

    def end() -> None:
        until = time.monotonic() + FIRST_SECONDS
        while not stop.wait(1.0) and not accounts.has(Role.STEWARD) and time.monotonic() < until:
            pass
        link.file.unlink(missing_ok=True)
        stop.wait()
        server.should_exit = True

    threading.Thread(target=serve, name="console", daemon=True).start()
    threading.Thread(target=end, name="console-end", daemon=True).start()
    threading.Thread(target=house.warm, name="console-warm", daemon=True).start()
    return link


def _first_link(accounts: Accounts, address: str) -> str | None:
    if accounts.has(Role.STEWARD):
        return None
    return f"{address}/enter/{accounts.invite(Role.STEWARD, 'this server', FIRST_SECONDS)}"


def _settings(console: ConsoleSettings, setting: Setting, shown: Shown) -> uvicorn.Config:
    tls = None
    if console.certificate is not None and console.private_key is not None:
        read_private(console.private_key)
        tls = Tls(console.certificate, console.private_key, console.client_ca)
    try:
        return settings(build(setting), shown, tls)
    except TlsUnusable as fault:
        raise ConfigurationFault(str(fault)) from fault


def _whose(certified: tuple[Certified, ...]) -> Read:
    """Return how a certificate is recognised: by its digest, as the settings name it."""
    people = {one.certificate_sha256: one for one in certified}

    def read(der: bytes) -> Account | None:
        one = people.get(sha256(der).hexdigest())
        return None if one is None else Account(one.name, Role(one.role), 0.0)

    return read
