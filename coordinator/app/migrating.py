"""Which changes of the tables a newer version brings: shown, and then made."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from coordinator.app.moving import leading, require_nobody_leads, shared_revision
from coordinator.app.process import hold
from coordinator.config import CoordinatorConfig
from coordinator.errors import EnvironmentFault
from coordinator.postgres.server import Server
from coordinator.store.database import MIGRATIONS, Database

NOW = "SELECT version_num FROM alembic_version"


def plan(config: CoordinatorConfig) -> dict[str, object]:
    """Say which migrations would run, and whether there is room for a copy first."""
    if (server := Server.of(config)) is not None:
        revision, size = shared_revision(server)
        return {
            "tables": str(server),
            "revision": revision,
            "pending": pending(revision),
            "bytes": size,
            "room": None,  # the server's disk is not seen from here
        }
    here = _revision(config.database_file)
    size = config.database_file.stat().st_size if config.database_file.exists() else 0
    return {
        "tables": str(config.database_file),
        "revision": here,
        "pending": pending(here),
        "bytes": size,
        "room": shutil.disk_usage(config.data).free > 2 * size if config.data.exists() else True,
    }


def migrate(config: CoordinatorConfig) -> dict[str, object]:
    """Make them, with the coordinator stopped."""
    shown = plan(config)
    if (server := Server.of(config)) is not None:
        require_nobody_leads(server)
        asyncio.run(_open_shared(server))
        return {"made": shown["pending"], "revision": shared_revision(server)[0]}
    if not shown["room"]:
        raise EnvironmentFault("the disk has no room for twice the tables: free space first")
    lock = hold(config)
    try:
        asyncio.run(_open(config.database_file))
    finally:
        os.close(lock)
    return {"made": shown["pending"], "revision": _revision(config.database_file)}


def pending(here: str | None) -> list[str]:
    """Return what a revision lacks, oldest first: its number and its sentence."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    steps = ScriptDirectory.from_config(config).walk_revisions()
    lacking = []
    for step in steps:
        if step.revision == here:
            break
        lacking.append(f"{step.revision} {(step.doc or '').splitlines()[0]}")
    return lacking[::-1]


def _revision(tables: Path) -> str | None:
    if not tables.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{tables}?mode=ro", uri=True)) as still:
            row = still.execute(NOW).fetchone()
    except sqlite3.OperationalError:
        return None
    return str(row[0]) if row else None


async def _open(tables: Path) -> None:
    database = await Database.open(tables)
    await database.close()


async def _open_shared(server: Server) -> None:
    async with leading(server) as lease:
        database = await Database.open_shared(server, lease)
        await database.close()
