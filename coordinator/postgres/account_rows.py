"""The console's accounts in PostgreSQL, so that whoever leads knows the same people.

Spoken to by a thread, as the trail is, for the pages' doors wait. A leader's writes are fenced;
a command's (token 0) are not: each is one transaction that is whole by itself.
"""

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from coordinator.errors import EnvironmentFault
from coordinator.postgres.lease import FENCE, LeaseLost
from coordinator.postgres.server import Server

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

PREFIX = "console_"  # of the tables: `invitation` is a hospital's
EXISTS = "SELECT to_regclass('console_account') IS NOT NULL"
ALONE = "LOCK TABLE console_account IN SHARE ROW EXCLUSIVE MODE"  # one writer, as in a file


class SharedAccounts:
    """One connection, in turns."""

    def __init__(self, server: Server, token: int = 0) -> None:
        self._server = server
        self._token = token
        self._turn = threading.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="accounts", daemon=True)
        self._thread.start()
        try:
            known = self._do(self._all(EXISTS))
        except EnvironmentFault:
            self.close()
            raise
        if not known[0][0]:
            self.close()
            raise EnvironmentFault(
                f"{server} has no accounts' tables yet: start a coordinator of this version first"
            )

    def close(self) -> None:
        if self._connection is not None:
            self._loop.call_soon_threadsafe(self._connection.terminate)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._turn:
            return self._do(self._all(_numbered(sql), *values))

    @contextmanager
    def transaction(self) -> Iterator["_Turn"]:
        with self._turn:
            self._do(self._begin())
            try:
                yield _Turn(self)
            except BaseException:
                with suppress(EnvironmentFault):
                    self._do(self._execute("ROLLBACK"))
                raise
            self._do(self._execute("COMMIT"))

    def ask(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Read within the transaction that stands."""
        return self._do(self._all(_numbered(sql), *values, within=True))

    def change(self, sql: str, values: tuple[object, ...]) -> int:
        """Write within the transaction that stands; return how many rows it met."""
        done = self._do(self._execute(_numbered(sql), *values))
        return int(done.rpartition(" ")[2])  # as the server says it: `UPDATE 1`

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncpg

        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as fault:
            raise EnvironmentFault(
                f"{self._server} cannot say who may come in just now ({type(fault).__name__})"
            ) from fault

    async def _begin(self) -> None:
        connection = await self._connected()
        await connection.execute("BEGIN")
        try:
            await self._fence(connection)
            await connection.execute(ALONE)
        except BaseException:
            connection.terminate()  # which ends the transaction, and the next call connects anew
            self._connection = None
            raise

    async def _fence(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        if self._token and await connection.fetchval(FENCE.format("$1"), self._token) is None:
            raise LeaseLost

    async def _all(self, sql: str, *values: object, within: bool = False) -> list[tuple[Any, ...]]:
        connection = self._standing() if within else await self._connected()
        return [tuple(row) for row in await connection.fetch(sql, *values)]

    async def _execute(self, sql: str, *values: object) -> str:
        done: str = await self._standing().execute(sql, *values)
        return done

    def _standing(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return the connection a transaction began on: a new one would know nothing of it."""
        if self._connection is None or self._connection.is_closed():
            raise ConnectionResetError
        return self._connection

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._server.connect()
        return self._connection


class _Turn:
    def __init__(self, accounts: SharedAccounts) -> None:
        self.read = lambda sql, values=(): accounts.ask(sql, values)
        self.write = accounts.change


def _numbered(sql: str) -> str:
    """Write a statement as PostgreSQL takes it: `$1` for the first `?`."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", sql.format(PREFIX))
