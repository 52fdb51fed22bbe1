"""The audit trail's rows in PostgreSQL, for callers that wait: a thread speaks to the server."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from coordinator.errors import EnvironmentFault
from coordinator.postgres.lease import FENCE, LeaseLost
from coordinator.postgres.server import Server
from protos.digest import GENESIS, chain_link

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

CREATE = """
    CREATE TABLE IF NOT EXISTS audit (number bigint PRIMARY KEY, body bytea NOT NULL,
                                      link bytea NOT NULL)
"""
CREATE_BASE = """
    CREATE TABLE IF NOT EXISTS audit_base (number bigint PRIMARY KEY, link bytea NOT NULL)
"""
# Room on the server's disk for the audit of that disk being full: dropped, it is free at once.
CREATE_RESERVE = """
    CREATE TABLE audit_reserve AS
    SELECT decode(repeat('5a', 1900), 'hex') AS room  -- in a page, four times, as it is
    FROM generate_series(1, 140)
"""
DROP_RESERVE = "DROP TABLE audit_reserve"
EXISTS = "SELECT to_regclass($1)"
APPEND = """
    INSERT INTO audit (number, body, link) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
    RETURNING number
"""
LAST = """
    SELECT number, link FROM audit UNION ALL SELECT number, link FROM audit_base
    ORDER BY number DESC LIMIT 1
"""
BASE = "SELECT number, link FROM audit_base ORDER BY number DESC LIMIT 1"
ALONE = "LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE"
PRUNE = "DELETE FROM audit WHERE number <= $1"
REBASE = "INSERT INTO audit_base SELECT number, link FROM audit WHERE number = $1"
FORGET_BASE = "DELETE FROM audit_base WHERE number < $1"
AFTER = "SELECT number, body, link FROM audit WHERE number > $1 ORDER BY number LIMIT $2"


class SharedRows:
    """Appends under the leader's number alone; without one (0) it is read, and may be pruned."""

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

    def base(self) -> tuple[int, bytes] | None:
        return self._entry(BASE)

    def last(self) -> tuple[int, bytes] | None:
        return self._entry(LAST)

    def after(self, number: int, at_most: int) -> Sequence[tuple[int, bytes, bytes]]:
        return [tuple(row) for row in self._do(self._all(AFTER, number, at_most))]

    def append(self, number: int, body: bytes, link: bytes) -> bool:
        """Append an entry; False where a command that prunes has taken its number."""
        return self._do(self._append(number, body, link))

    def prune(self, number: int, told: bytes) -> int:
        """Forget the entries up to one, and append the event that tells so, in one step."""
        return self._do(self._prune(number, told))

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
        if not self._token:
            return
        for table, made_by in (("audit", CREATE), ("audit_base", CREATE_BASE)):
            if await connection.fetchval(EXISTS, table) is None:
                await self._fenced(made_by)
        await self._set_aside()

    async def _set_aside(self) -> None:
        """Keep some room on the server's disk; one that is full already waits for a start."""
        import asyncpg

        connection = await self._connected()
        if await connection.fetchval(EXISTS, "audit_reserve") is None:
            with suppress(asyncpg.DiskFullError):
                await self._fenced(CREATE_RESERVE)

    async def _append(self, number: int, body: bytes, link: bytes) -> bool:
        import asyncpg

        try:
            return await self._fenced(APPEND, number, body, link) is not None
        except asyncpg.DiskFullError:
            connection = await self._connected()
            if await connection.fetchval(EXISTS, "audit_reserve") is None:
                raise
            await self._fenced(DROP_RESERVE)
            return await self._fenced(APPEND, number, body, link) is not None

    async def _prune(self, number: int, told: bytes) -> int:
        """Let nobody append meanwhile: whoever leads reads the end again after it."""
        connection = await self._connected()
        async with connection.transaction():
            await connection.execute(ALONE)
            await connection.execute(CREATE_BASE)
            at, link = await connection.fetchrow(LAST) or (0, GENESIS)
            await connection.execute(APPEND, at + 1, told, chain_link(link, told))
            await connection.execute(REBASE, number)
            await connection.execute(FORGET_BASE, number)
            gone = await connection.execute(PRUNE, number)
        return int(gone.rpartition(" ")[2])

    async def _fenced(self, sql: str, *values: object) -> "asyncpg.Record | None":
        connection = await self._connected()
        async with connection.transaction():
            if await connection.fetchval(FENCE.format("$1"), self._token) is None:
                raise LeaseLost
            return await connection.fetchrow(sql, *values)

    def _entry(self, sql: str) -> tuple[int, bytes] | None:
        row = self._do(self._one(sql))
        return None if row is None else (row["number"], row["link"])

    async def _one(self, sql: str) -> "asyncpg.Record | None":
        connection = await self._connected()
        if await connection.fetchval(EXISTS, "audit_base") is None:
            return None
        return await connection.fetchrow(sql)

    async def _all(self, sql: str, *values: object) -> "list[asyncpg.Record]":
        connection = await self._connected()
        if await connection.fetchval(EXISTS, "audit") is None:
            return []
        found: list[asyncpg.Record] = await connection.fetch(sql, *values)
        return found

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._server.connect()
        return self._connection
