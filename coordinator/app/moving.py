"""Tables moved whole: PostgreSQL's into the files of a coordinator that stands alone, and back.

A backup has one form, whichever the tables were; so it is the way from the one to the other, too.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData, create_engine, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from coordinator.audit.file_rows import FileRows
from coordinator.errors import ConfigurationFault, EnvironmentFault, IntegrityFault
from coordinator.postgres import trail
from coordinator.postgres.lease import FENCE, Lease, look, myself
from coordinator.postgres.server import Server
from coordinator.store.database import bring_to

TABLES, TRAIL = "coordinator.db", "audit.db"
LEAD_SECONDS = 60.0
AT_ONCE = 500  # rows
PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = '60s'"  # while files are written
REVISION = "SELECT version_num FROM alembic_version"
SIZE = "SELECT pg_database_size(current_database())"
TAKEN = "SELECT to_regclass('alembic_version') IS NOT NULL OR to_regclass('audit') IS NOT NULL"
# Nor who may use the pages: their accounts hold codes, and a start without them makes a link.
NOT_COPIED = ("alembic", "lease", "audit", "console_")
KEPT = {
    "audit": ("SELECT number, body, link FROM audit ORDER BY number", "?, ?, ?"),
    "audit_base": ("SELECT number, link FROM audit_base", "?, ?"),
}


def copy_out(server: Server, into: Path) -> list[Path]:
    """Write one moment of the tables and the trail to two files, whoever writes meanwhile."""
    asyncio.run(_copied_out(server, into))
    return [into / TABLES, into / TRAIL]


def copy_in(server: Server, saved: Path) -> None:
    """Fill an empty database from two files: all of it or, where it is cut short, nothing."""
    require_nobody_leads(server)
    asyncio.run(_copied_in(server, saved))


def shared_revision(server: Server) -> tuple[str | None, int]:
    """Return which form the tables on PostgreSQL have (None: there are none), and their size."""
    return asyncio.run(_revision_and_size(server))


def require_nobody_leads(server: Server) -> None:
    held = asyncio.run(look(server))
    if held is not None and held.seconds > 0:
        raise EnvironmentFault(f"{held.holder} leads on {server}: stop the coordinators first")


@asynccontextmanager
async def leading(server: Server) -> AsyncIterator[Lease]:
    """Be the one who leads, for as long as it takes, with no coordinator running."""
    lease = Lease(server, myself(), LEAD_SECONDS)
    try:
        await lease.take(lambda _holder: None)
        yield lease
    finally:
        await lease.release()


async def _copied_out(server: Server, into: Path) -> None:
    engine = _engine(server).execution_options(isolation_level="REPEATABLE READ")
    try:
        async with engine.connect() as connection:
            await connection.run_sync(partial(_write_files, into))
    except SQLAlchemyError as fault:
        raise EnvironmentFault(f"{server} cannot be read: {_said(fault)}") from fault
    finally:
        await engine.dispose()


def _write_files(into: Path, shared: Connection) -> None:
    shared.execute(text(PATIENCE))
    revision = MigrationContext.configure(shared).get_current_revision()
    if revision is None:
        raise ConfigurationFault("nobody has led on this PostgreSQL yet: there is nothing to save")
    with _file(into / TABLES) as file, file.begin() as here:
        bring_to(here, revision)
        _copy(shared, here)
    FileRows(into / TRAIL).close()  # which makes its tables
    with closing(sqlite3.connect(into / TRAIL)) as kept, kept:
        for table, (sql, places) in KEPT.items():
            if shared.scalar(text(f"SELECT to_regclass('{table}')")) is None:
                continue  # of a version that had none
            rows = shared.execution_options(yield_per=AT_ONCE).execute(text(sql))
            for some in rows.partitions(AT_ONCE):
                kept.executemany(
                    f"INSERT INTO {table} VALUES ({places})",  # noqa: S608 - names of ours
                    [tuple(row) for row in some],
                )


async def _copied_in(server: Server, saved: Path) -> None:
    engine = _engine(server)
    try:
        async with leading(server) as lease, engine.begin() as connection:
            # While this transaction lasts, nobody takes over (FENCE).
            await connection.execute(text(FENCE.format(":token")), {"token": lease.token})
            if await connection.scalar(text(TAKEN)):
                raise ConfigurationFault(
                    f"{server} holds a coordinator's tables: a backup is put in place of nothing"
                )
            await connection.run_sync(partial(_read_files, saved))
    except SQLAlchemyError as fault:
        raise EnvironmentFault(f"{server} cannot be filled: {_said(fault)}") from fault
    finally:
        await engine.dispose()


def _read_files(saved: Path, shared: Connection) -> None:
    shared.execute(text(PATIENCE))
    with _file(saved / TABLES) as file, file.connect() as here:
        revision = here.scalar(text(REVISION))
        try:
            bring_to(shared, str(revision))
        except CommandError as fault:
            raise IntegrityFault(
                f"the backup's tables are of a version this one does not know ({revision}): "
                "restore them with that version"
            ) from fault
        _copy(here, shared)
    for made_by in (trail.CREATE, trail.CREATE_BASE):
        shared.execute(text(made_by))
    with _file(saved / TRAIL) as file, file.connect() as here:
        known = MetaData()
        known.reflect(shared, only=list(KEPT))
        found = MetaData()
        found.reflect(here)
        for table in found.sorted_tables:
            _copy_table(here, shared, found, known, table.name)


def _copy(source: Connection, target: Connection) -> None:
    """Copy every table that the target has; both are of one revision."""
    there, here = MetaData(), MetaData()
    here.reflect(target, only=lambda name, _: not name.startswith(NOT_COPIED))
    there.reflect(source, only=[table.name for table in here.sorted_tables])
    for table in here.sorted_tables:  # those that others refer to come first
        _copy_table(source, target, there, here, table.name)


def _copy_table(
    source: Connection, target: Connection, there: MetaData, here: MetaData, name: str
) -> None:
    columns = [there.tables[name].c[column.name] for column in here.tables[name].c]
    rows = source.execution_options(yield_per=AT_ONCE).execute(select(*columns))
    for some in rows.mappings().partitions(AT_ONCE):
        target.execute(insert(here.tables[name]), [dict(row) for row in some])


async def _revision_and_size(server: Server) -> tuple[str | None, int]:
    connection = await server.connect()
    try:
        with server.answering():
            size = int(await connection.fetchval(SIZE))
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None, size
            return str(await connection.fetchval(REVISION)), size
    finally:
        await connection.close()


def _engine(server: Server) -> AsyncEngine:
    return create_async_engine("postgresql+asyncpg://", async_creator=server.connect)


@contextmanager
def _file(path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{path}")
    try:
        yield engine
    finally:
        engine.dispose()


def _said(fault: SQLAlchemyError) -> str:
    return str(getattr(fault, "orig", None) or type(fault).__name__)
