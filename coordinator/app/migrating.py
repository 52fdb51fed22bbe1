"""Which changes of the tables a newer version brings: shown, and then made."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from coordinator.app.process import hold
from coordinator.config import CoordinatorConfig
from coordinator.errors import ConfigurationFault, EnvironmentFault
from coordinator.store.database import MIGRATIONS, Database

NOW = "SELECT version_num FROM alembic_version"


def plan(config: CoordinatorConfig) -> dict[str, object]:
    """Say which migrations would run, and whether there is room for a copy first."""
    if config.store.url is not None:
        raise ConfigurationFault(
            "the tables are PostgreSQL's: whoever leads brings them to its version as it starts; "
            "save them with pg_dump, stop both coordinators, and start the newer"
        )
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
