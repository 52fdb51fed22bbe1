"""The lease: which of several coordinators on one PostgreSQL leads, and the fence of its writes.

One row holds who leads, under which number, and until when by the *server's* clock. Whoever takes
it over raises the number. Each write of a leader begins by locking the row under its own number,
in the write's own transaction: PostgreSQL lets no takeover pass between, and after a takeover the
row is not found. So a leader that was cut off, stopped or slow writes nothing more.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from coordinator.errors import CoordinatorError, EnvironmentFault
from coordinator.postgres.server import Server

if TYPE_CHECKING:
    import asyncpg

LEASE_SECONDS = 10.0
LOOK_SECONDS = 1.0
LOCK_WAIT = "2s"
MAKING = 0x7261646665640001  # the advisory lock under which the row is made

CREATE = """
    CREATE TABLE IF NOT EXISTS lease (
        name       text PRIMARY KEY,
        token      bigint NOT NULL UNIQUE,  -- unique: so that a change of it waits for FENCE
        holder     text NOT NULL,
        expires_at timestamptz NOT NULL
    )
"""
FIRST = """
    INSERT INTO lease (name, token, holder, expires_at) VALUES ('coordinator', 0, '', '-infinity')
        ON CONFLICT (name) DO NOTHING
"""
TAKE = """
    UPDATE lease
       SET token = token + 1, holder = $1,
           expires_at = clock_timestamp() + $2 * interval '1 second'
     WHERE name = 'coordinator' AND expires_at < clock_timestamp()
 RETURNING token
"""
# Changes no unique column, so it does not wait for writes that are under way (and hold FENCE).
RENEW = """
    UPDATE lease SET expires_at = clock_timestamp() + $2 * interval '1 second'
     WHERE name = 'coordinator' AND token = $1
 RETURNING token
"""
RELEASE = """
    UPDATE lease SET expires_at = '-infinity' WHERE name = 'coordinator' AND token = $1
"""
FENCE = "SELECT token FROM lease WHERE name = 'coordinator' AND token = {} FOR KEY SHARE"
LOOK = """
    SELECT holder, token, extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds
      FROM lease WHERE name = 'coordinator' AND isfinite(expires_at)
"""

log = structlog.get_logger()


class LeaseLost(EnvironmentFault):
    """Another coordinator leads now: nothing was written."""

    def __init__(self) -> None:
        super().__init__("another coordinator has taken over: this one writes nothing more")


@dataclass(frozen=True, slots=True)
class Held:
    """Who leads, as the shared tables say."""

    holder: str
    token: int
    seconds: float  # until it ends; negative when it has


def myself() -> str:
    """Name this process for an operator: the machine and the process."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Lease:
    """One process's place as the leader: taken once, kept until it is lost."""

    def __init__(self, server: Server, holder: str, seconds: float = LEASE_SECONDS) -> None:
        self._server = server
        self._holder = holder
        self._seconds = seconds
        self._until = 0.0  # by this machine's steady clock: never later than the server's end
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self.token = 0
        self.lost = asyncio.Event()

    async def take(self, waits: Callable[[str], None]) -> None:
        """Wait until nobody leads, and lead; `waits` is told whom one waits for."""
        connection = await self._connected()
        with self._server.answering():
            await self._make(connection)
        told = ""
        while not await self._attempt(self._try_to_take):
            held = await self._attempt(_look)
            if held is not None and held.holder != told:
                told = held.holder
                waits(told)
            await asyncio.sleep(LOOK_SECONDS)

    async def _make(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MAKING)
            await connection.execute(CREATE)
            await connection.execute(FIRST)

    async def keep(self) -> None:
        """Renew the lease again and again; return when it is lost."""
        while not self.lost.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.lost.wait(), self._seconds / 4)
                return
            began = monotonic()
            kept = await self._attempt(self._renew)
            if kept:
                self._until = began + self._seconds
            elif kept is False or monotonic() >= self._until - self._seconds / 4:
                self.lost.set()
        log.warning("lease_lost", token=self.token)

    async def release(self) -> None:
        """Let the next one lead at once."""
        if self.token:
            await self._attempt(lambda connection: connection.execute(RELEASE, self.token))
        if self._connection is not None:
            self._connection.terminate()

    async def _try_to_take(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        began = monotonic()
        async with connection.transaction():
            # A leader stopped in the middle of a write is ended by the server, not waited for here.
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            token = await connection.fetchval(TAKE, self._holder, self._seconds)
        if token is None:
            return False
        self.token, self._until = token, began + self._seconds
        log.info("lease_taken", token=token)
        return True

    async def _renew(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        return await connection.fetchval(RENEW, self.token, self._seconds) is not None

    async def _attempt(
        self, work: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[Any]]"
    ) -> Any:  # noqa: ANN401 - whatever the work returns
        """Do one thing on the lease's own connection; None where the server does not answer."""
        import asyncpg

        try:
            async with asyncio.timeout(self._seconds / 4):
                return await work(await self._connected())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, CoordinatorError) as fault:
            log.warning("lease_unanswered", kind=type(fault).__name__)
            if self._connection is not None:
                self._connection.terminate()
            self._connection = None
            return None

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._server.connect()
        return self._connection


async def look(server: Server) -> Held | None:
    """Return who leads, or led last; None where nobody ever did or the place was given up."""
    connection = await server.connect()
    try:
        with server.answering():
            if await connection.fetchval("SELECT to_regclass('lease')") is None:
                return None
            return await _look(connection)
    finally:
        await connection.close()


async def _look(connection: "asyncpg.Connection[asyncpg.Record]") -> Held | None:
    row = await connection.fetchrow(LOOK)
    return None if row is None else Held(row["holder"], row["token"], row["seconds"])
