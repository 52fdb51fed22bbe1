"""A trained model's card: what it learned from, how, what it cost, and who signed which part."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protos.training import TrainingPlan
from protos.update_price import DELTA

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FORMAT: Literal["radfed model card 1"] = "radfed model card 1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Part(_Part):
    """One hospital's part in one round; its update as the hospital itself signed it."""

    site: str
    task: str
    state: str  # as `radfed job show` has it; `late` or `no_report` where the round went on
    code: str
    in_sum: bool
    update: Hex
    weight: float
    public_key: Hex
    signature: Hex  # empty from a gateway that does not sign updates
    leakage_bits: float  # negative: no leakage bound


class RoundOfCard(_Part):
    number: int
    weights: Digest  # that the round started from, and that the figure is of
    only_measured: bool
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    parts: tuple[Part, ...]
    transcript: str  # base64 of the signed RoundTranscript; empty where nothing was added up


class HospitalOfCard(_Part):
    """What one hospital gave in all; `ends` counts how its parts ended."""

    site: str
    decision: str
    rule: str
    patients: float  # as its gate gave them, with noise; 0 where it gave none
    updates_in_sum: int
    ends: Mapping[str, int]
    leakage_bits: float  # of all it released; negative: no leakage bound
    rho: float  # of one patient replaced, over its updates; infinite without noise
    epsilon: float  # the same, at `delta`


class Result(_Part):
    round: int  # whose incoming weights they are
    weights: Digest
    bytes: int
    chosen: Literal["last", "best"]
    auc: float | None
    auc_low: float | None
    auc_high: float | None


class Card(_Part):
    """The whole of it, as it is signed; all that a reader could add up again is added up here."""

    format: Literal["radfed model card 1"] = FORMAT
    federation: str
    job: str
    name: str
    project: str
    purpose: str
    stage: str
    reason: str
    bundle: Digest
    vendor_key: Hex
    reviews: int
    submitted_at: str
    label: str
    cohort: tuple[str, ...]
    plan: TrainingPlan
    is_summed: bool = False  # updates were added up under masks: nobody has one of them
    quorum: int
    rounds_planned: int
    clip: float
    sigma: float
    delta: float = DELTA
    rounds: tuple[RoundOfCard, ...]
    hospitals: tuple[HospitalOfCard, ...]
    result: Result
    remarks: tuple[str, ...]
