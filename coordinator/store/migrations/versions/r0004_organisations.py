"""Whose work it is: what one organisation asks and trains, another does not see."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("question", "job"):
        column = sa.Column("organisation", sa.String(63), nullable=False, server_default="")
        op.add_column(table, column)
