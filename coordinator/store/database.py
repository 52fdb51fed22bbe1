"""The coordinator's database: one writer at a time, migrations at the start."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from coordinator.errors import EnvironmentFault

CLOSE_SECONDS = 5.0
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Readers run beside the one writer (WAL); a write is durable when its block ends."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
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

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        with self._working():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Hold the one transaction that may write; it commits at the end or leaves nothing."""
        with self._working():
            async with self._writer, self._engine.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Let what has begun finish: a stream that just ended may be storing its last word."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), CLOSE_SECONDS)
        await self._engine.dispose()

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


def migrate(connection: Connection) -> None:
    """Bring the schema to its newest revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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
