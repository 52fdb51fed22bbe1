"""The coordinator's nouns; what travels on the wire keeps the treaty's own messages."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from protos.identity import Identity
from protos.v1.job_pb2 import JobOffer, RoundTask, Withdrawal
from protos.v1.question_pb2 import Question
from protos.v1.sum_pb2 import SumCall

Clock = Callable[[], float]  # seconds since 1970, UTC
Offer = Question | JobOffer | RoundTask | Withdrawal | SumCall  # what is put before a hospital
Deliver = Callable[[str, Offer], None]  # offers to a connected site; absent ones learn on return

CHUNK_BYTES = 1 << 20  # of a large object, in one message


class Standing(StrEnum):
    INVITED = "invited"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class JobStage(StrEnum):
    IN_REVIEW = "in_review"  # no hospital sees it yet
    OFFERED = "offered"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


OVER = frozenset({JobStage.FINISHED, JobStage.FAILED, JobStage.STOPPED})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a message, as the certificate of its connection says."""

    identity: Identity
    serial: str  # hex
    not_after: float
    organisation: str = ""  # whose person it is; gateways have none


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital as the coordinator knows it."""

    name: str
    standing: Standing
    software_version: str = ""
    last_seen_at: float | None = None
    certificate_expires_at: float | None = None
    clock_skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job: what was submitted and how far it is."""

    job_id: str
    name: str
    kind: int  # protos' JobKind
    stage: JobStage
    rounds: int
    round: int
    bundle_digest: bytes
    bundle_size: int
    vendor_key: bytes
    vendor_signature: bytes
    weights_digest: bytes  # of the model round 1 starts from
    weights_size: int
    quorum: int
    round_seconds: float
    submitted_by: str
    submitted_at: float
    reason: str = ""
    terms: bytes = b""  # protos' JobTerms, as the reviewers sign them
    offered_at: float | None = None
    organisation: str = ""
    plan: str = ""  # protos.training's TrainingPlan, as text


@dataclass(frozen=True, slots=True)
class JobSiteRecord:
    """One hospital's decision on one job."""

    site: str
    decision: int  # protos' Decision
    rule: str


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round of one job; `closed_at` and `folded` say which step it has reached."""

    job_id: str
    number: int
    weights_digest: bytes
    weights_size: int
    evaluate_only: bool
    deadline: float
    closed_at: float | None = None
    folded: bool = False
    state_digest: bytes = b""  # of what the server remembers beside the weights; empty for nothing


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One hospital's part in one round; `outcome` is its newest report, serialised."""

    task_id: str
    job_id: str
    round: int
    site: str
    state: int = 0  # protos' TaskState
    outcome: bytes = b""
    pushed: bytes | None = None  # digest of the update it has handed in whole
    accepted: bool = False  # in the round's sum
    reported_at: float | None = None  # when the newest report came


@dataclass(frozen=True, slots=True)
class Pooled:
    """The federation's own figure for one round."""

    round: int
    auc: float | None
    low: float | None
    high: float | None
