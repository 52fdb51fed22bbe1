"""Which changes of the tables a newer version brings: shown, and then made."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from gateway.app.process import only_one
from gateway.config import GatewayConfig
from gateway.errors import EnvironmentFault
from gateway.store.index import Index
from gateway.store.migrations import MIGRATIONS


def plan(config: GatewayConfig) -> dict[str, Any]:
    """Say which migrations would run, and whether there is room for a copy first."""
    waiting = pending(config.index_file)
    size = config.index_file.stat().st_size if config.index_file.exists() else 0
    return {
        "index": str(config.index_file),
        "applied": _applied(config.index_file),
        "pending": waiting,
        "bytes": size,
        "room": shutil.disk_usage(config.data).free > 2 * size,
    }


def migrate(config: GatewayConfig) -> dict[str, Any]:
    """Make them, with the gateway stopped; the files are the truth, whatever the tables become."""
    shown = plan(config)
    if not shown["room"]:
        raise EnvironmentFault("the disk has no room for twice the index: free space first")
    with only_one(config.run_dir / "lock"):
        Index.open(config.index_file).close()
    return {"made": shown["pending"], "pending": pending(config.index_file)}


def pending(index: Path) -> list[str]:
    """Return the names of the migrations an index has not seen yet."""
    done = set(_applied(index))
    return [one for one in _all() if one not in done]


def _all() -> list[str]:
    return [one.name for one in MIGRATIONS.pending(Database(memory=True))]


def _applied(index: Path) -> list[str]:
    if not index.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as still:
            return [one.name for one in MIGRATIONS.applied(Database(still))]
    except sqlite3.Error as fault:
        raise EnvironmentFault(f"{index} cannot be read: {fault}") from fault
