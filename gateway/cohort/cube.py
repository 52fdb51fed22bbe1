"""The public tables (T0): counted together, charged once an epoch, read for free."""

from collections.abc import Iterator
from fractions import Fraction
from hashlib import sha256

from gateway.cohort.rules import Canonical, Unit, cost
from protos.cube import TABLES

CHARGED_AS = sha256(b"radfed public tables v1").digest()
CHARGED_TO = "(public tables)"  # nobody's name: the tables are everybody's


def tables() -> Iterator[Canonical]:
    """Yield the fixed tables as questions; they share one charge."""
    for group_by in TABLES:
        yield Canonical(Unit.PATIENTS, (), group_by)


def table_digest(table: Canonical) -> bytes:
    """Name a public table: its noise is not that of the question asked as an ordinary one."""
    return sha256(CHARGED_AS + table.digest).digest()


def price(sigma: Fraction) -> Fraction:
    return sum((cost(table, 1, sigma) for table in tables()), Fraction(0))
