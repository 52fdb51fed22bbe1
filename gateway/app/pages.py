"""The hospital console: served by one thread, on the address and over the TLS the settings name."""

import asyncio
import ssl
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.app.accounts import open_accounts
from gateway.app.house import House
from gateway.config import Certified, GatewayConfig
from gateway.config import Console as ConsoleSettings
from gateway.console.accounts import Account, Accounts
from gateway.console.pages import Setting, build
from gateway.console.rules import Role
from gateway.console.sessions import Sessions
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault
from gateway.intake.sockets import listen_on
from gateway.keys import read_private

FIRST_SECONDS = 3600.0  # a first link that nobody opened is worth nothing after that
WAITING = 64  # connections; a hospital has few stewards
GRACE_SECONDS = 1


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
    shown = Shown(console.certified)
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
    address = f"{scheme}://{_in_url(console.host)}:{listening.getsockname()[1]}"
    link = ConsoleLink(address, _first_link(accounts, address), config.console_link_file)
    if link.first_link is not None:
        replace_durably(link.file, f"{link.first_link}\n".encode())

    def end() -> None:
        until = time.monotonic() + FIRST_SECONDS
        while not stop.wait(1.0) and not accounts.has_steward() and time.monotonic() < until:
            pass
        link.file.unlink(missing_ok=True)
        stop.wait()
        server.should_exit = True

    threading.Thread(target=serve, name="console", daemon=True).start()
    threading.Thread(target=end, name="console-end", daemon=True).start()
    threading.Thread(target=house.warm, name="console-warm", daemon=True).start()
    return link


def _first_link(accounts: Accounts, address: str) -> str | None:
    if accounts.has_steward():
        return None
    return f"{address}/enter/{accounts.invite(Role.STEWARD, 'this server', FIRST_SECONDS)}"


def _settings(console: ConsoleSettings, setting: Setting, shown: "Shown") -> uvicorn.Config:
    """Return the server's settings, its TLS files read and checked now."""
    tls: dict[str, Any] = {}
    if console.certificate is not None and console.private_key is not None:
        read_private(console.private_key)
        tls = {"ssl_certfile": console.certificate, "ssl_keyfile": console.private_key}
        if console.client_ca is not None:
            tls |= {"ssl_ca_certs": str(console.client_ca), "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    settings = uvicorn.Config(
        build(setting),
        http=shown.protocol(),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        backlog=WAITING,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **tls,
    )
    try:
        settings.load()
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationFault(
            f"[console]: its TLS files cannot be used ({fault}): check certificate and key"
        ) from fault
    return settings


class Shown:
    """Which client certificate TLS has verified on which connection."""

    def __init__(self, certified: tuple[Certified, ...]) -> None:
        self._people = {one.certificate_sha256: one for one in certified}
        self._by_address: dict[tuple[str, int], Certified] = {}

    def account(self, request: Request) -> Account | None:
        client = request.client
        one = self._by_address.get((client.host, client.port)) if client else None
        return None if one is None else Account(one.name, Role(one.role), 0.0)

    def protocol(self) -> type[H11Protocol]:
        """Return uvicorn's protocol, telling us of each connection's certificate."""
        book = self

        class Certifying(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
                book.came(transport)
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                book.went(self.transport)
                super().connection_lost(exc)

        return Certifying

    def came(self, transport: asyncio.Transport) -> None:
        over = transport.get_extra_info("ssl_object")
        raw = over.getpeercert(binary_form=True) if over is not None else None
        one = self._people.get(sha256(raw).hexdigest()) if raw else None
        if one is not None:
            self._by_address[_peer(transport)] = one

    def went(self, transport: asyncio.Transport) -> None:
        self._by_address.pop(_peer(transport), None)


def _peer(transport: asyncio.Transport) -> tuple[str, int]:
    host, port, *_ = transport.get_extra_info("peername") or ("", 0)
    return str(host), int(port)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # RFC 3986 3.2.2
