"""The hospital console's server: made when somebody calls, for it is large and mostly alone."""

import asyncio
import ssl
import time
from hashlib import sha256
from typing import Any

import uvicorn
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.app.house import House
from gateway.config import Certified, GatewayConfig
from gateway.config import Console as ConsoleSettings
from gateway.console.accounts import Account, Accounts
from gateway.console.pages import Setting, build
from gateway.console.rules import Role
from gateway.console.sessions import Sessions

WAITING = 64  # connections; a hospital has few stewards
GRACE_SECONDS = 1


def make_server(
    config: GatewayConfig, console: ConsoleSettings, accounts: Accounts
) -> tuple[uvicorn.Server, House]:
    """Build the pages and what they show."""
    shown, house = Shown(console.certified), House(config)
    setting = Setting(
        config.site,
        house,
        accounts,
        Sessions(time.monotonic),
        over_tls=console.over_tls,
        two_person=console.two_person,
        certified=shown.account,
    )
    return uvicorn.Server(_settings(console, setting, shown)), house


def _settings(console: ConsoleSettings, setting: Setting, shown: "Shown") -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if console.certificate is not None and console.private_key is not None:
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
    settings.load()
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
