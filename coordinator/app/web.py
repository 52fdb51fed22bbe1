"""What is served over HTTP, on the coordinator's own loop: the console, and the metrics."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from coordinator.config import Console, Metrics
from coordinator.errors import EnvironmentFault


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the coordinator, which stops this server too."""
        yield


class Web:
    """One served application; its socket is open before the first request is."""

    def __init__(self, settings: Console | Metrics, serving: uvicorn.Config) -> None:
        self._socket = _listening(settings)
        self._server = _Server(serving)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    async def run(self) -> None:
        serving = asyncio.create_task(self._server.serve([self._socket]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await serving
            raise


def plainly(application: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", server_header=False
    )


def _section(settings: Console | Metrics) -> str:
    return "console" if isinstance(settings, Console) else "metrics"


def _listening(settings: Console | Metrics) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as fault:
        listener.close()
        raise EnvironmentFault(
            f"{settings.host}:{settings.port} ([{_section(settings)}]) cannot be opened: "
            f"{fault.strerror}"
        ) from fault
    listener.listen()
    return listener
