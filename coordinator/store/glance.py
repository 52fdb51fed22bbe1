"""A look at the tables from outside the running process: read-only, and old or absent is fine."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from coordinator.errors import EnvironmentFault
from coordinator.postgres.server import Server

Counts = dict[str, dict[str, int]]
COUNTS: Mapping[str, str] = {
    "sites": "SELECT standing, COUNT(*) FROM site GROUP BY standing",
    "questions": "SELECT 'asked', COUNT(*) FROM question",
    "jobs": "SELECT stage, COUNT(*) FROM job GROUP BY stage",
}


def glance(database: Path) -> Counts:
    """Count sites by standing, questions, and jobs by stage."""
    if not database.exists():
        return {name: {} for name in COUNTS}
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return {name: dict(connection.execute(sql)) for name, sql in COUNTS.items()}
    except sqlite3.Error as fault:
        raise EnvironmentFault(f"{database} cannot be read: {fault}") from fault


async def glance_shared(server: Server) -> Counts:
    """Count the same on PostgreSQL."""
    import asyncpg

    connection = await server.connect()
    try:
        return {name: dict(await connection.fetch(sql)) for name, sql in COUNTS.items()}
    except asyncpg.UndefinedTableError:  # nobody has led yet
        return {name: {} for name in COUNTS}
    except asyncpg.PostgresError as fault:
        raise EnvironmentFault(f"{server} cannot be read: {fault}") from fault
    finally:
        await connection.close()
