"""Certificates that only renew, beside those gateways work with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("purpose", sa.String(16), nullable=False, server_default="gateway")
    op.add_column("certificate", column)
