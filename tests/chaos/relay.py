"""The road between hospitals and their coordinator: it can be cut, closed, and made slow."""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

BLOCK = 16 << 10


@dataclass(slots=True)
class Weather:
    """What a road is like now."""

    closed: bool = False
    delay_seconds: float = 0.0  # each way
    bytes_per_second: float = 0.0  # of one connection; 0: as fast as it goes


class Relay:
    """Passes TCP connections on from a port of its own; a thread of its own serves them."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._open: set[asyncio.StreamWriter] = set()
        self.weather = Weather()
        self.passed = 0  # bytes, both ways
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        server = self._in_loop(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]

    def cut(self) -> int:
        """Break every connection; return how many there were."""
        return self._in_loop(self._break())

    def stop(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _in_loop(self, work: Awaitable[Any]) -> Any:
        async def done() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    async def _break(self) -> int:
        count = len(self._open) // 2
        for writer in tuple(self._open):
            writer.transport.abort()
        return count

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.closed:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        ways = [
            asyncio.create_task(self._one_way(reader, far_writer)),
            asyncio.create_task(self._one_way(far_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in ends:
            end.transport.abort()
        self._open -= ends

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await reader.read(BLOCK):
                weather = self.weather
                pause = weather.delay_seconds
                if weather.bytes_per_second:
                    pause += len(block) / weather.bytes_per_second
                if pause:
                    await asyncio.sleep(pause)
                writer.write(block)
                await writer.drain()
                self.passed += len(block)
