"""Who may use the console, where a standby shares the tables; a file of its own elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0204"
down_revision = "0179"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "console_account",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),  # a code counts once
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("organisation", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "console_invitation",
        sa.Column("token", sa.LargeBinary, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("name", sa.Text, nullable=False, server_default=""),
        sa.Column("organisation", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "console_failure",
        sa.Column("who", sa.Text, nullable=False, index=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "console_consent",  # no question of this house is for two, but a removal takes it back
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("bundle", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
