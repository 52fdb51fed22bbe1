"""The coordinator's database: one writer at a time, migrations at the start.

SQLite in a file of this machine, or PostgreSQL where a standby shares the tables; there each write
is fenced by the lease (`coordinator.postgres.lease`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from coordinator.errors import EnvironmentFault, InvalidRequest
from coordinator.postgres.lease import FENCE, Lease, LeaseLost
from coordinator.postgres.server import Server

CLOSE_SECONDS = 5.0
MIGRATIONS = Path(__file__).parent / "migrations"
POOL = 8
UNFIT = "22"  # SQLSTATE class: data exception


class Database:
    """Readers run beside the one writer (WAL); a write is durable when its block ends."""

    def __init__(self, engine: AsyncEngine, lease: Lease | None = None) -> None:
        self._engine = engine
        self._lease = lease
        self._dialect: ModuleType = sqlite if lease is None else postgresql
        self._writer = asyncio.Lock()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Open, or make, the tables and bring them to the newest form."""
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=4, max_overflow=4)
        event.listen(engine.sync_engine, "connect", _prepare)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(migrate)
        except SQLAlchemyError as fault:
            await engine.dispose()
            raise EnvironmentFault(f"{path} cannot be opened: {_sentence(fault)}") from fault
        return cls(engine)

    @classmethod
    async def open_shared(cls, server: Server, lease: Lease) -> "Database":
        """Open the tables on PostgreSQL as the one who leads, and bring them to the newest form."""
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=server.connect,
            pool_size=POOL,
            pool_pre_ping=True,  # the server may have been started anew
        )
        database = cls(engine, lease)
        try:
            async with database.writing() as connection:
                await connection.run_sync(migrate)
        except SQLAlchemyError as fault:
            await engine.dispose()
            raise EnvironmentFault(f"{server} cannot be used: {_sentence(fault)}") from fault
        except BaseException:
            await engine.dispose()
            raise
        return database

    def upsert(self, table: Table) -> sqlite.Insert:
        """Begin an INSERT that knows ON CONFLICT; PostgreSQL's takes what SQLite's takes."""
        made: sqlite.Insert = self._dialect.insert(table)
        return made

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        with self._working(), _fit_to_store():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Hold the one transaction that may write; it commits at the end or leaves nothing."""
        with self._working(), _fit_to_store():
            async with self._writer, self._engine.begin() as connection:
                await self._fence(connection)
                yield connection

    async def close(self) -> None:
        """Let what has begun finish: a stream that just ended may be storing its last words."""
        try:
            await asyncio.wait_for(self._finish(), CLOSE_SECONDS)
        except TimeoutError:
            await self._engine.dispose()

    async def _finish(self) -> None:
        """Close every connection: of those whose work goes on meanwhile, too, once it is done."""
        while True:
            while self._in_flight:
                await self._idle.wait()
            await self._engine.dispose()
            if not self._in_flight:
                return

    async def _fence(self, connection: AsyncConnection) -> None:
        """Refuse to write once another leads; while this transaction lasts, nobody takes over."""
        if self._lease is None:
            return
        held = await connection.execute(text(FENCE.format(":token")), {"token": self._lease.token})
        if held.first() is None:
            self._lease.lost.set()
            raise LeaseLost

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()


@contextmanager
def _fit_to_store() -> Iterator[None]:
    """Refuse what PostgreSQL cannot hold, such as a NUL in a text: SQLite would have taken it."""
    try:
        yield
    except DBAPIError as fault:
        if isinstance(fault, DataError) or _state(fault).startswith(UNFIT):
            raise InvalidRequest("a text or a number in it is none that can be stored") from fault
        raise


def _state(fault: DBAPIError) -> str:
    return str(getattr(fault.orig, "sqlstate", None) or "")


def migrate(connection: Connection) -> None:
    """Bring the schema to its newest revision."""
    bring_to(connection, "heads")


def bring_to(connection: Connection, revision: str) -> None:
    """Bring the schema up to a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "busy_timeout = 5000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sentence(fault: SQLAlchemyError) -> str:
    return str(getattr(fault, "orig", None) or type(fault).__name__)
