"""The first tables: sites, questions, jobs, rounds."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "site",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("invited_at", sa.Double, nullable=False),
        sa.Column("software_version", sa.String(64), nullable=False, server_default=""),
        sa.Column("last_seen_at", sa.Double),
        sa.Column("clock_skew_seconds", sa.Double, nullable=False, server_default="0"),
    )
    op.create_table(
        "certificate",
        sa.Column("serial", sa.String(40), primary_key=True),
        sa.Column("site", sa.String(63), sa.ForeignKey("site.name"), nullable=False),
        sa.Column("chain_pem", sa.LargeBinary, nullable=False),
        sa.Column("issued_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("superseded_at", sa.Double),
    )
    op.create_index("ix_certificate_site", "certificate", ["site"])
    op.create_table(
        "invitation",
        sa.Column("serial", sa.String(40), primary_key=True),
        sa.Column("site", sa.String(63), sa.ForeignKey("site.name"), nullable=False),
        sa.Column("invited_by", sa.String(256), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
        sa.Column("request_digest", sa.LargeBinary),
        sa.Column("certificate", sa.String(40), sa.ForeignKey("certificate.serial")),
    )
    op.create_table(
        "question",
        sa.Column("question_id", sa.String(64), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("ix_question_asked_at", "question", ["asked_at"])
    op.create_index("ix_question_expires_at", "question", ["expires_at"])
    op.create_table(
        "asked",
        sa.Column(
            "question_id", sa.String(64), sa.ForeignKey("question.question_id"), primary_key=True
        ),
        sa.Column("site", sa.String(63), sa.ForeignKey("site.name"), primary_key=True),
        sa.Column("state", sa.Integer),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("answered_at", sa.Double),
    )
    op.create_table(
        "job",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False, server_default="0"),
        sa.Column("bundle_digest", sa.LargeBinary, nullable=False),
        sa.Column("bundle_size", sa.BigInteger, nullable=False),
        sa.Column("vendor_key", sa.LargeBinary, nullable=False),
        sa.Column("vendor_signature", sa.LargeBinary, nullable=False),
        sa.Column("weights_digest", sa.LargeBinary, nullable=False),
        sa.Column("weights_size", sa.BigInteger, nullable=False),
        sa.Column("quorum", sa.Integer, nullable=False),
        sa.Column("round_seconds", sa.Double, nullable=False),
        sa.Column("submitted_by", sa.String(256), nullable=False),
        sa.Column("submitted_at", sa.Double, nullable=False),
        sa.Column("reason", sa.String(512), nullable=False, server_default=""),
    )
    op.create_table(
        "job_site",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("site", sa.String(63), sa.ForeignKey("site.name"), primary_key=True),
        sa.Column("decision", sa.Integer, nullable=False, server_default="0"),
        sa.Column("rule", sa.String(64), nullable=False, server_default=""),
        sa.Column("decided_at", sa.Double),
    )
    op.create_table(
        "round",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("weights_digest", sa.LargeBinary, nullable=False),
        sa.Column("weights_size", sa.BigInteger, nullable=False),
        sa.Column("evaluate_only", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("deadline", sa.Double, nullable=False),
        sa.Column("closed_at", sa.Double),
        sa.Column("folded", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "task",
        sa.Column("task_id", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(64), sa.ForeignKey("job.job_id"), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("site", sa.String(63), sa.ForeignKey("site.name"), nullable=False),
        sa.Column("state", sa.Integer, nullable=False, server_default="0"),
        sa.Column("outcome", sa.LargeBinary, nullable=False),
        sa.Column("pushed", sa.LargeBinary),
        sa.Column("accepted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("reported_at", sa.Double),
    )
    op.create_index("ix_task_job_id", "task", ["job_id"])
    op.create_index("ix_task_site", "task", ["site"])
    op.create_table(
        "pooled",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("auc", sa.Double),
        sa.Column("low", sa.Double),
        sa.Column("high", sa.Double),
    )


def downgrade() -> None:
    for table in (
        "pooled",
        "task",
        "round",
        "job_site",
        "job",
        "asked",
        "question",
        "invitation",
        "certificate",
        "site",
    ):
        op.drop_table(table)
