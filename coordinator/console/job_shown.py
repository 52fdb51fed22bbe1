"""What a page of jobs shows: the nouns of the board."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.jobs.dossier import Changes, Dossier
from coordinator.jobs.reviews import Reviews
from coordinator.model import OVER, Pooled, RoundRecord
from coordinator.training.progress import Point
from protos.manifest import Project
from protos.v1.job_pb2 import JobOffer


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job in a list."""

    job_id: str
    name: str
    kind: str
    stage: str
    round: int
    rounds: int
    vendor: str
    project: str
    submitted_at: float
    missing: int  # reviews; 0 once hospitals see it
    reason: str

    @property
    def is_over(self) -> bool:
        return self.stage in OVER


@dataclass(frozen=True, slots=True)
class JobList:
    lines: Sequence[JobLine]
    by_stage: Mapping[str, int]
    following: str  # names where the next page begins; empty at the end


@dataclass(frozen=True, slots=True)
class SiteRow:
    """How a job stands at one hospital, in the round that is looked at."""

    site: str
    decision: str
    rule: str
    point: Point | None  # of this round; None where it has no part in it

    @property
    def state(self) -> str:
        return self.point.state if self.point else self.decision


@dataclass(frozen=True, slots=True)
class RoundLine:
    """One round in a few numbers: how it ended at how many hospitals, and its pooled figure."""

    number: int
    evaluate_only: bool
    is_open: bool
    states: Mapping[str, int]
    codes: Mapping[tuple[str, str], int]  # by state and code, of those that gave nothing
    pooled: Pooled | None


@dataclass(frozen=True, slots=True)
class Standing:
    """All that changes while a job runs."""

    line: JobLine
    round: RoundRecord | None
    sites: Sequence[SiteRow]
    states: Mapping[str, int]
    newest: Sequence[RoundLine]
    number_of_rounds: int


@dataclass(frozen=True, slots=True)
class JobShown:
    standing: Standing
    offer: JobOffer
    submitted_by: str
    quorum: int
    dossier: Dossier
    reviews: Reviews
    project: Project | None
    measures: Sequence[str]


@dataclass(frozen=True, slots=True)
class CodeShown:
    line: JobLine
    bundle: str
    dossier: Dossier
    before: JobLine | None  # the last approved bundle of the same name
    changes: Changes | None
