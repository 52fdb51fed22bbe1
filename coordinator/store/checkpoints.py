"""The SQL of checkpoints: this house's own, and the newest that each gateway signed."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    LargeBinary,
    String,
    Table,
    delete,
    func,
    insert,
    select,
)

from coordinator.store.database import Database
from coordinator.store.tables import metadata

SECONDS_A_DAY = 86_400

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("house", String(80), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger),  # the entry of this house's own trail; NULL: lost, or another's
    Column("at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),  # protos' Checkpoint
)

chain_fault = Table(
    "chain_fault",
    metadata,
    Column("house", String(80), primary_key=True),  # with whom the exchange was
    Column("at", Double, nullable=False),
    Column("whose", String(16), nullable=False),
    Column("finding", String(16), nullable=False),
    Column("number", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Signed:
    """One stored checkpoint."""

    house: str
    number: int
    position: int | None
    at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class ChainFault:
    """What was last found wrong when checkpoints were exchanged with a house."""

    house: str
    at: float
    whose: str
    finding: str
    number: int


class Checkpoints:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, house: str) -> list[Signed]:
        """Return a house's checkpoints, oldest first."""
        query = select(checkpoint).where(checkpoint.c.house == house).order_by(checkpoint.c.number)
        async with self._database.reading() as connection:
            return [Signed(**row) for row in (await connection.execute(query)).mappings()]

    async def newest(self, house: str) -> Signed | None:
        mine = checkpoint.c.house == house
        query = select(checkpoint).where(mine).order_by(checkpoint.c.number.desc()).limit(1)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Signed(**row)

    async def newest_of_all(self) -> Mapping[str, Signed]:
        last = (
            select(checkpoint.c.house, func.max(checkpoint.c.number).label("number"))
            .group_by(checkpoint.c.house)
            .subquery()
        )
        query = select(checkpoint).join(
            last, (checkpoint.c.house == last.c.house) & (checkpoint.c.number == last.c.number)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings()
            return {row["house"]: Signed(**row) for row in rows}

    async def keep(self, signed: Signed) -> None:
        """Keep one; of each day the newest stays."""
        day = signed.at - signed.at % SECONDS_A_DAY
        superseded = (checkpoint.c.number == signed.number) | (
            (checkpoint.c.number < signed.number) & (checkpoint.c.at >= day)
        )
        values = {
            "house": signed.house, "number": signed.number, "position": signed.position,
            "at": signed.at, "body": signed.body,
        }  # fmt: skip
        async with self._database.writing() as connection:
            await connection.execute(
                delete(checkpoint).where(checkpoint.c.house == signed.house, superseded)
            )
            await connection.execute(insert(checkpoint).values(values))

    async def faults(self) -> Mapping[str, ChainFault]:
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(chain_fault))).mappings()
            return {row["house"]: ChainFault(**row) for row in rows}

    async def fault(self, found: ChainFault) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(chain_fault).where(chain_fault.c.house == found.house))
            await connection.execute(
                insert(chain_fault).values(
                    house=found.house,
                    at=found.at,
                    whose=found.whose,
                    finding=found.finding,
                    number=found.number,
                )
            )
