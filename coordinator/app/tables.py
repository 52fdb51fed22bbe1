"""The tables opened: a file of this machine at once, PostgreSQL once nobody else leads."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from coordinator.audit import AuditTrail
from coordinator.config import CoordinatorConfig
from coordinator.model import Clock
from coordinator.postgres.lease import Held, Lease, look, myself
from coordinator.postgres.server import Server
from coordinator.store.database import Database
from coordinator.store.glance import Counts, glance, glance_shared

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tables:
    """What a leading coordinator writes to; `lease` is None where it is the only one."""

    audit: AuditTrail
    database: Database
    lease: Lease | None = None


async def open_tables(config: CoordinatorConfig, clock: Clock, opened: AsyncExitStack) -> Tables:
    """Open the tables; with PostgreSQL this waits, as the standby, for the lease."""
    server = Server.of(config)
    if server is None:
        audit = AuditTrail.open(config.audit_file, clock)
        opened.callback(audit.close)
        database = await Database.open(config.database_file)
        opened.push_async_callback(database.close)
        return Tables(audit, database)
    lease = Lease(server, myself())
    opened.push_async_callback(lease.release)  # once all else is closed
    await lease.take(lambda holder: log.info("coordinator_stands_by", leader=holder))
    audit = await asyncio.to_thread(AuditTrail.shared, server, clock, lease.token)
    opened.callback(audit.close)
    database = await Database.open_shared(server, lease)
    opened.push_async_callback(database.close)
    return Tables(audit, database, lease)


def open_trail(config: CoordinatorConfig, clock: Clock) -> AuditTrail:
    """Open the audit trail to read it, beside a coordinator that runs or not."""
    server = Server.of(config)
    if server is None:
        return AuditTrail.open(config.audit_file, clock)
    return AuditTrail.shared(server, clock)


def seen(config: CoordinatorConfig) -> tuple[Held | None, Counts]:
    """Look at the tables from outside: who leads (on PostgreSQL), and what they hold."""
    server = Server.of(config)
    if server is None:
        return None, glance(config.database_file)
    return asyncio.run(_seen(server))


async def _seen(server: Server) -> tuple[Held | None, Counts]:
    return await look(server), await glance_shared(server)
