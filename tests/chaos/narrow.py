"""A narrow road: so many bits a second, so long a way, some of it lost, and cut again and again.

Where the kernel has no `tc netem`, this shapes it: bytes queue for a bottleneck in each direction,
arrive after half the round trip, and wait one round trip more where a segment was lost, as TCP's
receiver does for the resent one.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

BLOCK = 4096
SEGMENT = 1460  # an Ethernet frame's worth of TCP


@dataclass(frozen=True, slots=True)
class Narrow:
    bits_per_second: float
    round_trip_seconds: float
    loss: float  # of segments


class Direction:
    """One way of the road: what goes over it goes one after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop, road: Narrow, draw: random.Random) -> None:
        self._loop, self._road, self._draw = loop, road, draw
        self._free = 0.0  # when the bottleneck is
        self.passed = 0

    def arrives(self, size: int) -> float:
        """Return when so many bytes that start now are there."""
        begins = max(self._loop.time(), self._free)
        self._free = begins + 8 * size / self._road.bits_per_second
        lost = sum(self._draw.random() < self._road.loss for _ in range(-(-size // SEGMENT)))
        self._free += 8 * SEGMENT * lost / self._road.bits_per_second  # they are sent again
        return self._free + self._road.round_trip_seconds * (0.5 + bool(lost))


class NarrowRelay:
    """Passes TCP connections on over a narrow road; a thread of its own serves them."""

    def __init__(self, to_port: int, road: Narrow, cut_at: list[int], seed: int) -> None:
        self._to = to_port
        self._cut_at = sorted(cut_at)  # bytes that have passed, both ways together
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None] | None] = set()  # asyncio itself holds them weakly
        self.cuts = 0
        self._loop = asyncio.new_event_loop()
        draw = random.Random(seed)
        self.up, self.down = (Direction(self._loop, road, draw) for _ in range(2))
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        server = self._in_loop(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._break)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _in_loop(self, work: Awaitable[Any]) -> Any:
        async def done() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    def _break(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carrying.add(asyncio.current_task())
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        ways = [
            asyncio.create_task(self._one_way(reader, far_writer, self.up)),
            asyncio.create_task(self._one_way(far_reader, writer, self.down)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in ends:
            end.transport.abort()
        self._writers -= ends
        self._carrying.discard(asyncio.current_task())

    async def _one_way(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction
    ) -> None:
        """Take bytes in as fast as the bottleneck lets them through, and hand them out later."""
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        landing = asyncio.create_task(self._land(flying, writer, way))
        try:
            with suppress(OSError):
                while block := await reader.read(BLOCK):
                    lands = way.arrives(len(block))
                    flying.put_nowait((lands, block))
                    await asyncio.sleep(max(0.0, way._free - self._loop.time()))
                await flying.join()
        finally:
            landing.cancel()

    async def _land(
        self, flying: "asyncio.Queue[tuple[float, bytes]]", writer: Any, way: Direction
    ) -> None:
        with suppress(OSError):
            while True:
                lands, block = await flying.get()
                await asyncio.sleep(max(0.0, lands - self._loop.time()))
                writer.write(block)
                way.passed += len(block)
                flying.task_done()
                if self._cut_at and self.up.passed + self.down.passed >= self._cut_at[0]:
                    del self._cut_at[0]
                    self.cuts += 1
                    self._break()
                await writer.drain()
