"""The floor: what a question to everybody costs when nobody thinks about it.

The same interpreter, gRPC, mutual TLS and number of streams: the servicer sends a message to all
and counts what comes back.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
import grpc.aio

from gateway.link.channel import OPTIONS
from gateway.link.credentials import Credentials

METHOD = "/floor.Floor/Connect"


class Echoes:
    """Clients that say every message back."""

    def __init__(self) -> None:
        self._channels: list[grpc.Channel] = []
        self._mouths: list[SimpleQueue[bytes | None]] = []

    def join(self, port: int, homes: list[Path]) -> None:
        for home in homes:
            credentials = Credentials.load(home)
            assert credentials is not None
            tls = grpc.ssl_channel_credentials(
                credentials.roots_pem, credentials.key_pem(), credentials.chain_pem
            )
            way = (("grpc.enable_http_proxy", 0),)
            channel = grpc.secure_channel(f"127.0.0.1:{port}", tls, options=OPTIONS + way)
            self._channels.append(channel)
            mouth: SimpleQueue[bytes | None] = SimpleQueue()
            self._mouths.append(mouth)
            mouth.put(b"hello")
            call = channel.stream_stream(METHOD)(_said(mouth))
            threading.Thread(target=_echo, args=(call, mouth), daemon=True).start()

    def leave(self) -> None:
        for mouth in self._mouths:
            mouth.put(None)
        for channel in self._channels:
            channel.close()
        self._channels, self._mouths = [], []


def _said(mouth: SimpleQueue[bytes | None]) -> Iterator[bytes]:
    while (message := mouth.get()) is not None:
        yield message


def _echo(call: Iterator[bytes], mouth: SimpleQueue[bytes | None]) -> None:
    try:
        for message in call:
            mouth.put(message)
    except grpc.RpcError:
        mouth.put(None)


class Floor:
    """The trivial servicer, on a loop of its own in this process."""

    def __init__(self, roots: bytes, key: bytes, chain: bytes) -> None:
        self._tls = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
        self._queues: list[asyncio.Queue[bytes]] = []
        self._heard = 0
        self._due = 0
        self._all = asyncio.Event()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._in_loop(self._start())

    @property
    def joined(self) -> int:
        return len(self._queues)

    def ask(self, message: bytes, seconds: float = 60.0) -> list[float]:
        """Send a message to all; return when each said it back, in seconds."""
        return self._in_loop(self._ask(message, seconds))

    def stop(self) -> None:
        self._in_loop(self._server.stop(None))
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _in_loop(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def _start(self) -> None:
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._connect)
        service = grpc.method_handlers_generic_handler("floor.Floor", {"Connect": handler})
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_secure_port("127.0.0.1:0", self._tls)
        await self._server.start()

    async def _ask(self, message: bytes, seconds: float) -> list[float]:
        self._times: list[float] = []
        self._due, self._all = len(self._queues), asyncio.Event()
        self._began = time.monotonic()
        for queue in self._queues:
            queue.put_nowait(message)
        await asyncio.wait_for(self._all.wait(), seconds)
        return self._times

    async def _connect(
        self, requests: AsyncIterator[bytes], _context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> AsyncIterator[bytes]:
        await anext(requests)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.append(queue)
        hearing = asyncio.create_task(self._hear(requests))
        try:
            while True:
                yield await queue.get()
        finally:
            hearing.cancel()
            self._queues.remove(queue)

    async def _hear(self, requests: AsyncIterator[bytes]) -> None:
        async for _said in requests:
            self._times.append(time.monotonic() - self._began)
            if len(self._times) == self._due:
                self._all.set()
