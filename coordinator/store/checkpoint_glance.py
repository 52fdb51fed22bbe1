"""A look at the checkpoints from outside the running process: read-only; old tables have none."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from coordinator.config import CoordinatorConfig
from coordinator.errors import EnvironmentFault
from coordinator.postgres.server import Server
from coordinator.store.checkpoints import ChainFault, Signed

SIGNED = "SELECT house, number, position, at, body FROM checkpoint ORDER BY house, number"
FAULTS = "SELECT house, at, whose, finding, number FROM chain_fault ORDER BY house"


def signed_so_far(config: CoordinatorConfig) -> list[Signed]:
    return [Signed(*row) for row in _read(config, SIGNED)]


def faults_so_far(config: CoordinatorConfig) -> list[ChainFault]:
    return [ChainFault(*row) for row in _read(config, FAULTS)]


def _read(config: CoordinatorConfig, sql: str) -> list[Any]:
    server = Server.of(config)
    return (
        _read_file(config.database_file, sql)
        if server is None
        else asyncio.run(_fetched(server, sql))
    )


async def _fetched(server: Server, sql: str) -> list[Any]:
    import asyncpg

    connection = await server.connect()
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    except asyncpg.UndefinedTableError:  # nobody has led yet
        return []
    except asyncpg.PostgresError as fault:
        raise EnvironmentFault(f"{server} cannot be read: {fault}") from fault
    finally:
        await connection.close()


def _read_file(tables: Path, sql: str) -> list[Any]:
    if not tables.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{tables}?mode=ro", uri=True)) as still:
            return still.execute(sql).fetchall()
    except sqlite3.OperationalError as fault:
        if "no such table" in str(fault):
            return []
        raise EnvironmentFault(f"{tables} cannot be read: {fault}") from fault
