"""Secure sums: what hospitals said at each step, and what was fixed of it."""

import sqlalchemy as sa
from alembic import op

revision = "0120"
down_revision = "0110"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sum_step",
        sa.Column("task_id", sa.String(64), primary_key=True),
        sa.Column("step", sa.String(16), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("said_at", sa.Double, nullable=False),
    )
    op.create_table(
        "sum_round",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("roster", sa.LargeBinary, nullable=False),
        sa.Column("dealers", sa.LargeBinary),
        sa.Column("transcript", sa.LargeBinary),
        sa.Column("transcript_at", sa.Double),
        sa.ForeignKeyConstraint(["job_id", "number"], ["round.job_id", "round.number"]),
    )
