"""The steward's pages: served by one thread, on the address the settings name."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from gateway.app.status import status_of
from gateway.app.steward import quarantined, sent
from gateway.config import GatewayConfig
from gateway.console.pages import LINK_SECONDS, Door, build
from gateway.durable import replace_durably
from gateway.intake.sockets import listen_on


@dataclass(frozen=True, slots=True)
class ConsoleLink:
    address: str
    first_link: str  # may be opened once, and soon
    file: Path  # where it is written, for the gateway's account alone


class Facts:
    """What the pages show, read anew each time."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config

    def status(self) -> Mapping[str, Any]:
        return status_of(self._config)

    def quarantined(self) -> Sequence[Mapping[str, Any]]:
        return quarantined(self._config)

    def sent(self, newest: int) -> Sequence[Mapping[str, Any]]:
        return sent(self._config, newest)


def start_console(config: GatewayConfig, stop: threading.Event) -> ConsoleLink | None:
    """Serve the pages until `stop`; None where the settings have no [console]."""
    if config.console is None:
        return None
    listening = listen_on(config.console.host, config.console.port)
    door = Door()
    settings = uvicorn.Config(
        build(Facts(config), door), log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(settings)

    def serve() -> None:
        server.run(sockets=[listening])

    address = f"http://{_in_url(config.console.host)}:{listening.getsockname()[1]}"
    link = ConsoleLink(address, f"{address}/enter/{door.link_token}", config.console_link_file)
    replace_durably(link.file, f"{link.first_link}\n".encode())

    def end() -> None:
        stop.wait(LINK_SECONDS)
        link.file.unlink(missing_ok=True)
        stop.wait()
        server.should_exit = True

    threading.Thread(target=serve, name="console", daemon=True).start()
    threading.Thread(target=end, name="console-end", daemon=True).start()
    return link


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # RFC 3986 3.2.2
