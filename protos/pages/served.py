"""How a console is served: one uvicorn, its TLS, and whose certificate each connection showed."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from protos.pages.accounts import Account

WAITING = 64  # connections; a house has few people at its pages
GRACE_SECONDS = 1

Read = Callable[[bytes], Account | None]  # whose certificate (DER) this is, where it counts


class TlsUnusable(Exception):
    """The files of [console] do not make a TLS server."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's own files; `trusted` says who signs people's certificates."""

    certificate: Path
    private_key: Path
    trusted: Path | str | None = None  # a file, or PEM text


class Shown:
    """Which client certificate TLS has verified on which connection."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._by_address: dict[tuple[str, int], Account] = {}

    def account(self, request: Request) -> Account | None:
        client = request.client
        return self._by_address.get((client.host, client.port)) if client else None

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
        one = self._read(raw) if raw else None
        if one is not None:
            self._by_address[_peer(transport)] = one

    def went(self, transport: asyncio.Transport) -> None:
        self._by_address.pop(_peer(transport), None)


def settings(application: ASGIApp, shown: Shown, tls: Tls | None) -> uvicorn.Config:
    """Return the server's settings, its TLS files read and checked now."""
    over: dict[str, Any] = {}
    if tls is not None:
        over = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.private_key}
        if tls.trusted is not None:
            over |= {"ssl_cert_reqs": ssl.CERT_OPTIONAL}
    made = uvicorn.Config(
        application,
        http=shown.protocol(),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        backlog=WAITING,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **over,
    )
    try:
        made.load()
        if made.ssl is not None and tls is not None:
            _trust(made.ssl, tls.trusted)
    except (OSError, ssl.SSLError) as fault:
        raise TlsUnusable(
            f"[console]: its TLS files cannot be used ({fault}): check certificate and key"
        ) from fault
    return made


def _trust(context: ssl.SSLContext, trusted: Path | str | None) -> None:
    if isinstance(trusted, Path):
        context.load_verify_locations(cafile=trusted)
    elif trusted is not None:
        context.load_verify_locations(cadata=trusted)


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # RFC 3986 3.2.2


def _peer(transport: asyncio.Transport) -> tuple[str, int]:
    host, port, *_ = transport.get_extra_info("peername") or ("", 0)
    return str(host), int(port)
