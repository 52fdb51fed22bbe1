"""The hospital console: one port, which a server takes over when the first caller knocks."""

import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app.accounts import open_accounts
from gateway.config import Console as ConsoleSettings
from gateway.config import GatewayConfig
from gateway.console.rules import Role
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault
from gateway.intake.sockets import listen_on
from gateway.keys import read_private
from protos.pages.accounts import Accounts

if TYPE_CHECKING:
    import uvicorn

FIRST_SECONDS = 3600.0  # a first link that nobody opened is worth nothing after that
KNOCK_SECONDS = 1.0


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
    _check_tls(console)
    listening = listen_on(console.host, console.port)
    accounts = open_accounts(config)
    serving: list[uvicorn.Server] = []

    def serve() -> None:
        if not _knocked(listening, stop):
            return
        from gateway.app.console_server import make_server  # 10 MB that an idle gateway lacks

        server, house = make_server(config, console, accounts)
        serving.append(server)
        server.should_exit = stop.is_set()
        threading.Thread(target=house.warm, name="console-warm", daemon=True).start()
        server.run(sockets=[listening])

    scheme = "https" if console.over_tls else "http"
    address = f"{scheme}://{_in_url(console.host)}:{listening.getsockname()[1]}"
    link = ConsoleLink(address, _first_link(accounts, address), config.console_link_file)
    if link.first_link is not None:
        replace_durably(link.file, f"{link.first_link}\n".encode())

    def end() -> None:
        until = time.monotonic() + FIRST_SECONDS
        while not stop.wait(1.0) and not accounts.has(Role.STEWARD) and time.monotonic() < until:
            pass
        link.file.unlink(missing_ok=True)
        stop.wait()
        for server in serving:
            server.should_exit = True

    threading.Thread(target=serve, name="console", daemon=True).start()
    threading.Thread(target=end, name="console-end", daemon=True).start()
    return link


def _knocked(listening: socket.socket, stop: threading.Event) -> bool:
    """Wait until somebody wants to connect; False where the gateway stops before."""
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    while not stop.is_set():
        if waiting.poll(KNOCK_SECONDS * 1000):
            return True
    return False


def _check_tls(console: ConsoleSettings) -> None:
    """Read and check the TLS files now: a fault is the operator's to see at the start."""
    if console.certificate is None or console.private_key is None:
        return
    read_private(console.private_key)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(console.certificate, console.private_key)
        if console.client_ca is not None:
            context.load_verify_locations(console.client_ca)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationFault(
            f"[console]: its TLS files cannot be used ({fault}): check certificate and key"
        ) from fault


def _first_link(accounts: Accounts, address: str) -> str | None:
    if accounts.has(Role.STEWARD):
        return None
    return f"{address}/enter/{accounts.invite(Role.STEWARD, 'this server', FIRST_SECONDS)}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # RFC 3986 3.2.2; `pages.served` is large
