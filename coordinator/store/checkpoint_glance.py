"""A look at the checkpoints from outside the running process: read-only; old tables have none."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from coordinator.errors import EnvironmentFault
from coordinator.store.checkpoints import ChainFault, Signed

SIGNED = "SELECT house, number, position, at, body FROM checkpoint ORDER BY house, number"
FAULTS = "SELECT house, at, whose, finding, number FROM chain_fault ORDER BY house"


def signed_so_far(tables: Path) -> list[Signed]:
    return [Signed(*row) for row in _read(tables, SIGNED)]


def faults_so_far(tables: Path) -> list[ChainFault]:
    return [ChainFault(*row) for row in _read(tables, FAULTS)]


def _read(tables: Path, sql: str) -> list[Any]:
    if not tables.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{tables}?mode=ro", uri=True)) as still:
            return still.execute(sql).fetchall()
    except sqlite3.OperationalError as fault:
        if "no such table" in str(fault):
            return []
        raise EnvironmentFault(f"{tables} cannot be read: {fault}") from fault
