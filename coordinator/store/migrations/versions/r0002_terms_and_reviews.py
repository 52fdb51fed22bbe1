"""What reviewers agree to, and their signatures."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("terms", sa.LargeBinary, nullable=False, server_default=""))
    op.add_column("job", sa.Column("offered_at", sa.Double))
    op.execute("UPDATE job SET offered_at = submitted_at")
    op.create_table(
        "review",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("public_key", sa.LargeBinary, primary_key=True),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("reviewed_at", sa.Double, nullable=False),
    )
