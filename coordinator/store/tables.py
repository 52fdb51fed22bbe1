"""The coordinator's tables; times are seconds since 1970, UTC; digests are raw SHA-256.

`site` is a hospital, `certificate` and `invitation` what it was given, `question` and `asked` what
was asked of whom, `job`, `review`, `job_site`, `round` and `task` a vendor's work, who vouches
for it and how far each hospital is with it, `pooled` the federation's figure for each round, and
`transcript` the signed word on each round that is over.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData()

site = Table(
    "site",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("standing", String(16), nullable=False),
    Column("invited_at", Double, nullable=False),
    Column("software_version", String(64), nullable=False, server_default=""),
    Column("last_seen_at", Double),
    Column("clock_skew_seconds", Double, nullable=False, server_default="0"),
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("site", String(63), ForeignKey("site.name"), nullable=False, index=True),
    Column("chain_pem", LargeBinary, nullable=False),
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("superseded_at", Double),
    Column("purpose", String(16), nullable=False, server_default="gateway"),  # or `renewal`
)

invitation = Table(
    "invitation",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("site", String(63), ForeignKey("site.name"), nullable=False),
    Column("invited_by", String(256), nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
    Column("request_digest", LargeBinary),  # of the one request it has signed
    Column("certificate", String(40), ForeignKey("certificate.serial")),
)

question = Table(
    "question",
    metadata,
    Column("question_id", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("asked_at", Double, nullable=False, index=True),
    Column("expires_at", Double, nullable=False, index=True),
    Column("organisation", String(63), nullable=False, server_default=""),
)

asked = Table(
    "asked",
    metadata,
    Column("question_id", String(64), ForeignKey("question.question_id"), primary_key=True),
    Column("site", String(63), ForeignKey("site.name"), primary_key=True),
    Column("state", Integer),
    Column("answer", LargeBinary),
    Column("answered_at", Double),
)

job = Table(
    "job",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("kind", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("round", Integer, nullable=False, server_default="0"),
    Column("bundle_digest", LargeBinary, nullable=False),
    Column("bundle_size", BigInteger, nullable=False),
    Column("vendor_key", LargeBinary, nullable=False),
    Column("vendor_signature", LargeBinary, nullable=False),
    Column("weights_digest", LargeBinary, nullable=False),
    Column("weights_size", BigInteger, nullable=False),
    Column("quorum", Integer, nullable=False),
    Column("round_seconds", Double, nullable=False),
    Column("submitted_by", String(256), nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("reason", String(512), nullable=False, server_default=""),
    Column("terms", LargeBinary, nullable=False, server_default=""),
    Column("offered_at", Double),
    Column("organisation", String(63), nullable=False, server_default=""),
    Column("plan", Text, nullable=False, server_default=""),
)

review = Table(
    "review",
    metadata,
    Column("job_id", String(64), ForeignKey("job.job_id"), primary_key=True),
    Column("public_key", LargeBinary, primary_key=True),
    Column("signature", LargeBinary, nullable=False),
    Column("reviewed_at", Double, nullable=False),
)

job_site = Table(
    "job_site",
    metadata,
    Column("job_id", String(64), ForeignKey("job.job_id"), primary_key=True),
    Column("site", String(63), ForeignKey("site.name"), primary_key=True),
    Column("decision", Integer, nullable=False, server_default="0"),
    Column("rule", String(64), nullable=False, server_default=""),
    Column("decided_at", Double),
)

round_ = Table(
    "round",
    metadata,
    Column("job_id", String(64), ForeignKey("job.job_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("weights_digest", LargeBinary, nullable=False),
    Column("weights_size", BigInteger, nullable=False),
    Column("evaluate_only", Boolean, nullable=False, server_default=false()),
    Column("deadline", Double, nullable=False),
    Column("closed_at", Double),
    Column("folded", Boolean, nullable=False, server_default=false()),
    Column("state_digest", LargeBinary, nullable=False, server_default=""),
)

task = Table(
    "task",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("job_id", String(64), ForeignKey("job.job_id"), nullable=False, index=True),
    Column("round", Integer, nullable=False),
    Column("site", String(63), ForeignKey("site.name"), nullable=False, index=True),
    Column("state", Integer, nullable=False, server_default="0"),
    Column("outcome", LargeBinary, nullable=False),
    Column("pushed", LargeBinary),  # digest of the update it has handed in whole
    Column("accepted", Boolean, nullable=False, server_default=false()),
    Column("reported_at", Double),
)

pooled = Table(
    "pooled",
    metadata,
    Column("job_id", String(64), ForeignKey("job.job_id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("auc", Double),
    Column("low", Double),
    Column("high", Double),
)

transcript = Table(
    "transcript",
    metadata,
    Column("job_id", String(64), ForeignKey("job.job_id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
