"""Checkpoints of both houses' chains, and what was found wrong with them."""

import sqlalchemy as sa
from alembic import op

from coordinator.store import checkpoints  # its tables are of the metadata, too

revision = "0100"
down_revision = "0004"
branch_labels = None
depends_on = None
TABLES = (checkpoints.checkpoint, checkpoints.chain_fault)


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("house", sa.String(80), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "chain_fault",
        sa.Column("house", sa.String(80), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("whose", sa.String(16), nullable=False),
        sa.Column("finding", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
