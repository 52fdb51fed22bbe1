"""The report's form: what is evidence, what is made of it; its JSON schema comes from here."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from coordinator.evaluation.agreement import Kappa
from coordinator.evaluation.calibration import Calibration
from coordinator.evaluation.comparison import McNemar, PairedAuc
from coordinator.evaluation.curves import RocPoint
from coordinator.evaluation.froc import FrocPoint
from coordinator.evaluation.heterogeneity import WithinSite
from coordinator.evaluation.intervals import Share
from coordinator.evaluation.overlap import Distribution, Mean
from coordinator.evaluation.paired_places import PairedBoxes, PairedMasks
from coordinator.evaluation.pool import Auc
from protos.evaluation import EvaluationProtocol

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """What is newer than a form's first readers is written where it says something, only."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
    newer: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        plain = {name: type(self).model_fields[name].default for name in self.newer}
        silent = {name for name, value in plain.items() if getattr(self, name) == value}
        return {name: value for name, value in written.items() if name not in silent}


class SiteEvidence(_Part):
    """One hospital: what it decided, how its look ended, and its statistics as it signed them."""

    site: str
    decision: str
    state: str  # of its look; empty where there was none
    code: str  # why it refused, failed or withheld; empty otherwise
    task: str
    statistics: str  # base64 of a serialised EvaluationStatistics; empty where none was released
    public_key: Hex
    signature: Hex
    leakage_bits: float


class SumEvidence(_Part):
    """A secure sum: masked counts, and what takes off the masks of all of them together."""

    round: int
    roster: str  # base64 of a serialised SumRoster
    transcript: str  # base64 of a serialised SumTranscript: who is in it, and their signatures
    secrets: Mapping[str, Digest]  # of who dealt: the seed of who is in it, else the mask key
    masked: Mapping[str, str]  # base64 of what each hospital in it pushed


class Evidence(_Part):
    """All that the figures are made of, so that whoever reads them can make them again."""

    newer = frozenset({"is_summed", "sum"})

    federation: str
    job: str
    name: str
    project: str
    purpose: str
    bundle: Digest
    weights: Digest
    vendor_key: Hex
    reviews: int
    submitted_at: str
    label: str
    inclusion: tuple[str, ...]
    protocol: EvaluationProtocol
    protocol_sha256: Digest
    sites: tuple[SiteEvidence, ...]
    is_summed: bool = False  # hospitals' counts come under masks
    sum: SumEvidence | None = None  # where it opened


class Figures(_Part):
    """What the counts of one group of patients say."""

    positives: int
    negatives: int
    auc: Auc | None
    average_precision: float | None
    shares: Mapping[str, Share | None]  # at the locked threshold
    calibration: Calibration | None


class DetectionFigures(_Part):
    """What boxes of one group of patients found."""

    positives: int
    negatives: int
    lesions: int
    at_threshold: FrocPoint | None  # the locked one
    mean_sensitivity: float | None  # at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false marks a patient


class OverlapFigures(_Part):
    """How masks of one group of patients lie on the reference's."""

    positives: int
    negatives: int
    dice: Distribution | None
    mean_dice: Mean | None
    hd95: Distribution | None
    undrawn: Share | None  # of patients with the finding
    drawn_without: Share | None  # of patients without


class SiteReport(_Part):
    newer = frozenset({"detection", "overlap"})

    site: str
    outcome: str  # one sentence
    figures: Figures | None
    detection: DetectionFigures | None = None
    overlap: OverlapFigures | None = None
    cells_withheld: int
    look: int
    looks_left: int


class SubgroupReport(_Part):
    newer = frozenset({"detection", "overlap", "hospitals_counted"})

    field: str
    bin: str
    hospitals: tuple[str, ...]  # those that could show it; of a secure sum nobody knows
    hospitals_counted: int = 0  # of a secure sum: how many they are
    figures: Figures | None
    detection: DetectionFigures | None = None
    overlap: OverlapFigures | None = None


class Flow(_Part):
    """Who was asked, and what became of them: nobody goes missing."""

    newer = frozenset({"patients_unreferenced"})

    hospitals_asked: int
    hospitals_reporting: int
    not_reporting: Mapping[str, int]  # by reason
    patients_scored: int
    patients_unscored: Mapping[str, int]
    timeouts: int
    patients_unreferenced: int = 0  # whose findings nobody drew, so that places cannot be judged


class ComparisonReport(_Part):
    newer = frozenset({"boxes", "masks", "hospitals_counted"})

    other_bundle: Digest
    hospitals: tuple[str, ...]
    hospitals_counted: int = 0  # of a secure sum: how many they are
    positives: int
    negatives: int
    auc: PairedAuc | None
    calls: McNemar | None  # None of boxes and masks
    boxes: PairedBoxes | None = None
    masks: PairedMasks | None = None


class ReaderReport(_Part):
    """Readers of one hospital, numbered; nobody is named."""

    site: str
    readers: int
    cases: int
    fleiss: Kappa | None
    cohen: Mapping[str, Kappa | None]  # "1-2"
    prevalence: float | None  # STAPLE's
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]
    consensus: Mapping[str, float]  # calls, such as "101" -> probability of the finding


class VoxelReport(_Part):
    """Who drew the voxels of one hospital's cases, readers numbered, and STAPLE's word on it."""

    site: str
    readers: int
    cases: int
    voxels: int  # of the boxes around what was drawn
    drawn: Mapping[str, int]  # by whom: "101" -> voxels
    prevalence: float
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]
    consensus: Mapping[str, float]  # "101" -> probability that such a voxel is the finding
    consensus_voxels: int  # that are more probably the finding than not
    voted_voxels: int  # that at least half of the readers drew


class Statement(_Part):
    question: str
    known: str


class Domain(_Part):
    """One domain of PROBAST+AI, with what the platform knows; the judgement is a person's."""

    domain: Literal["participants", "predictors", "outcome", "analysis"]
    statements: tuple[Statement, ...]
    judgement: Literal["to be made by a person"] = "to be made by a person"


class Report(_Part):
    newer = frozenset(
        {"detection", "froc", "overlap", "reader_dice", "voxel_readers", "not_available"}
    )

    format: Literal["radfed evaluation report 1"] = "radfed evaluation report 1"
    evidence: Evidence
    flow: Flow
    pooled: Figures | None
    roc: tuple[RocPoint, ...]
    detection: DetectionFigures | None = None
    froc: tuple[FrocPoint, ...] = ()  # from the lowest threshold
    overlap: OverlapFigures | None = None
    within_site: WithinSite | None
    sites: tuple[SiteReport, ...]
    subgroups: tuple[SubgroupReport, ...]
    comparison: ComparisonReport | None
    readers: tuple[ReaderReport, ...]
    reader_dice: Mapping[str, Distribution] = {}  # by hospital: cases by how alike they were drawn
    voxel_readers: tuple[VoxelReport, ...] = ()
    overlap_within_hospitals: str
    overlap_between_hospitals: Literal["unknown"] = "unknown"
    secure_sum: bool = False
    not_available: Mapping[str, str] = {}  # what would need a single hospital's figures, and why
    disclosure: str
    probast_ai: tuple[Domain, ...]
