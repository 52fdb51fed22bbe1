"""How a job's updates become models, what the server remembers, and its word on each round."""

import sqlalchemy as sa
from alembic import op

revision = "0179"
down_revision = "0120"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("plan", sa.Text, nullable=False, server_default=""))
    state = sa.Column("state_digest", sa.LargeBinary, nullable=False, server_default="")
    op.add_column("round", state)
    op.create_table(
        "transcript",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
