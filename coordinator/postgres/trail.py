"""The audit trail's rows in PostgreSQL, for callers that wait: a thread speaks to the server."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from coordinator.errors import EnvironmentFault
from coordinator.postgres.lease import FENCE, LeaseLost
from coordinator.postgres.server import Server

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

CREATE = """
    CREATE TABLE IF NOT EXISTS audit (number bigint PRIMARY KEY, body bytea NOT NULL,
                                      link bytea NOT NULL)
"""
EXISTS = "SELECT to_regclass('audit')"
APPEND = "INSERT INTO audit (number, body, link) VALUES ($1, $2, $3)"
LAST = "SELECT number, link FROM audit ORDER BY number DESC LIMIT 1"
AFTER = "SELECT number, body, link FROM audit WHERE number > $1 ORDER BY number LIMIT $2"


class SharedRows:
    """Appends under the leader's number alone; without one (0) it can only be read."""

    def __init__(self, server: Server, token: int) -> None:
        self._server = server
        self._token = token
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="audit", daemon=True)
        self._thread.start()
        try:
            self._do(self._begin())
        except EnvironmentFault:
            self.close()
            raise

    def last(self) -> tuple[int, bytes] | None:
        row = self._do(self._one(LAST))
        return None if row is None else (row["number"], row["link"])

    def after(self, number: int, at_most: int) -> Sequence[tuple[int, bytes, bytes]]:
        return [tuple(row) for row in self._do(self._all(AFTER, number, at_most))]

    def append(self, number: int, body: bytes, link: bytes) -> None:
        self._do(self._append(number, body, link))

    def close(self) -> None:
        if self._connection is not None:
            self._loop.call_soon_threadsafe(self._connection.terminate)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncpg

        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as fault:
            raise EnvironmentFault(
                f"{self._server} cannot keep the audit trail just now ({type(fault).__name__})"
            ) from fault

    async def _begin(self) -> None:
        connection = await self._connected()
        if self._token and await connection.fetchval(EXISTS) is None:
            await self._fenced(CREATE)

    async def _append(self, number: int, body: bytes, link: bytes) -> None:
        await self._fenced(APPEND, number, body, link)

    async def _fenced(self, sql: str, *values: object) -> None:
        connection = await self._connected()
        async with connection.transaction():
            if await connection.fetchval(FENCE.format("$1"), self._token) is None:
                raise LeaseLost
            await connection.execute(sql, *values)

    async def _one(self, sql: str) -> "asyncpg.Record | None":
        connection = await self._connected()
        if await connection.fetchval(EXISTS) is None:
            return None
        return await connection.fetchrow(sql)

    async def _all(self, sql: str, *values: object) -> "list[asyncpg.Record]":
        connection = await self._connected()
        if await connection.fetchval(EXISTS) is None:
            return []
        found: list[asyncpg.Record] = await connection.fetch(sql, *values)
        return found

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._server.connect()
        return self._connection
