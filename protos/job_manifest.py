"""`job.toml`: the whole of what a reviewer reads and a hospital approves, beside the code."""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
)
from pydantic import model_validator as validated

from protos import shipped
from protos.canonical import Value, canonical_bytes
from protos.evaluation import EvaluationProtocol, Hit, Predictions
from protos.sums import grid_of
from protos.tensors import TensorSpec
from protos.training import TrainingPlan
from protos.vocabulary import FIELDS, MAX_PREDICATES

if TYPE_CHECKING:
    from protos.v1 import question_pb2

MANIFEST = "job.toml"
MODEL_LIMIT_BYTES = 8 << 30
DRAWN_LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # as drawings are named by their codes

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$")]
Plain: TypeAlias = (
    StrictBool | StrictInt | FiniteFloat | Annotated[str, StringConstraints(max_length=200)]
)
Setting: TypeAlias = Plain | Annotated[tuple[Plain, ...], Field(max_length=64)]


class BundleFault(ValueError):
    """A bundle cannot be what it should be."""


class ManifestFault(BundleFault):
    """`job.toml` says something that cannot be."""


PLAIN_RUNTIME = "python-numpy"
# What a hospital may offer beside the standard library. The first is its gateway's own.
RUNTIMES = {
    PLAIN_RUNTIME: "numpy, scipy, safetensors, pydicom and its decoders",
    "torch-cpu": "the same, and PyTorch without a GPU",
    "sklearn": "the same, and scikit-learn",
    "flower": "the same, and Flower's client library",
    "flower-torch-cpu": "the same, with PyTorch and Flower's client library",
}


class Kind(StrEnum):
    TRAINING = "training"
    EVALUATION = "evaluation"
    ANALYTICS = "analytics"


class Summing(StrEnum):
    """How hospitals' updates and counts come together."""

    PLAIN = "plain"  # the coordinator sees each, and adds them
    SECURE = "secure"  # it learns the sum alone


class Form(StrEnum):
    """Whose code runs, and how it is called."""

    PYTHON = "python"  # `job.py` of the bundle: train, predict, analyse
    FLOWER = "flower"  # an unchanged Flower App; `job.py` may add a `predict`
    # The hospital's own code: the bundle brings no line of it.
    MOMENTS = "moments"
    HISTOGRAM = "histogram"
    GLM = "glm"
    LOGISTIC = "logistic"


SHIPPED = frozenset({Form.MOMENTS, Form.HISTOGRAM, Form.GLM, Form.LOGISTIC})
FORMS: Mapping[Kind, frozenset[Form]] = {
    Kind.TRAINING: frozenset({Form.PYTHON, Form.FLOWER, Form.GLM, Form.LOGISTIC}),
    Kind.EVALUATION: frozenset({Form.PYTHON}),
    Kind.ANALYTICS: frozenset({Form.PYTHON, Form.MOMENTS, Form.HISTOGRAM}),
}


class Comparison(StrEnum):
    """As protos.v1.question_pb2.Operator, in the manifest's spelling."""

    EQUAL = "equal"
    NOT_EQUAL = "not_equal"
    LESS = "less"
    LESS_OR_EQUAL = "less_or_equal"
    GREATER = "greater"
    GREATER_OR_EQUAL = "greater_or_equal"
    IN = "in"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Part):
    """One condition on the series a job wants; all must hold."""

    field: str
    operator: Comparison = Comparison.EQUAL
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]

    @validated(mode="after")
    def _speaks_the_vocabulary(self) -> Self:
        if self.field not in FIELDS:
            raise ValueError(f"`{self.field}` is not a field: {', '.join(FIELDS)}")
        if len(self.values) > 1 and self.operator is not Comparison.IN:
            raise ValueError("only `in` takes several values")
        return self


class MetricSpec(_Part):
    """A number the job reports about its training; the gate bounds and rounds it."""

    name: Word
    minimum: float = 0.0
    maximum: float = 1.0
    decimals: Annotated[int, Field(ge=0, le=4)] = 2


class Resources(_Part):
    """What one round at one hospital may take."""

    wall_seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = 600.0
    memory_mb: Annotated[int, Field(ge=64, le=1 << 20)] = 2048
    gpus: Annotated[int, Field(ge=0, le=16)] = 0  # NVIDIA's, whole


class JobManifest(_Part):
    """The whole of `job.toml`: what a reviewer reads and a hospital approves."""

    name: Name
    kind: Kind
    form: Form = Form.PYTHON
    purpose: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    cohort: Annotated[tuple[Condition, ...], Field(min_length=1, max_length=MAX_PREDICATES)]
    label: Word  # the reference standard every case must have
    # The largest share of the cohort's series without it; beyond, a hospital refuses with a code.
    unlabelled_share_at_most: Annotated[float, Field(ge=0, le=1)] = 1.0
    rounds: Annotated[int, Field(ge=1, le=1000)] = 1
    # What is trained or tested; of analytics, the `outputs` that are computed.
    weights: Annotated[
        dict[Word, TensorSpec], Field(validation_alias=AliasChoices("weights", "outputs"))
    ] = {}
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # joint norm of an update
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # noise on every value of it
    sum: Summing = Summing.PLAIN
    metrics: Annotated[tuple[MetricSpec, ...], Field(max_length=16)] = ()
    resources: Resources = Resources()
    imports: Annotated[tuple[Word, ...], Field(max_length=32)] = ()  # beyond the standard library
    # What the code is told beside the round; part of what is approved.
    config: Annotated[dict[Word, Setting], Field(max_length=64)] = {}
    runtime: Name = PLAIN_RUNTIME  # one the hospitals offer
    bad_cases_at_most: Annotated[float, Field(ge=0, le=1)] = 0.2  # share that may be left out
    protocol: EvaluationProtocol | None = None  # of a locked test set; an evaluation's alone
    training: TrainingPlan = TrainingPlan()  # how updates become the next model; training's alone

    @validated(mode="after")
    def _can_be_run(self) -> Self:
        if self.kind is Kind.TRAINING and not self.weights:
            raise ValueError("a training job declares its `weights`")
        if self.kind is Kind.ANALYTICS and not self.weights:
            raise ValueError("an analytics job declares its `outputs`")
        if self.form not in FORMS[self.kind]:
            raise ValueError(f"a job of kind {self.kind} has no form {self.form}")
        if self.form in SHIPPED and (
            fault := shipped.fault_in(self.form, self.config, self.weights)
        ):
            raise ValueError(fault)
        if sum(spec.size_bytes for spec in self.weights.values()) > MODEL_LIMIT_BYTES:
            raise ValueError(f"the weights pass {MODEL_LIMIT_BYTES} bytes")
        return self

    @validated(mode="after")
    def _says_nothing_of_other_kinds(self) -> Self:
        if self.kind is not Kind.TRAINING and self.rounds != 1:
            raise ValueError(f"a job of kind {self.kind} has one round")
        if self.protocol is not None and self.kind is not Kind.EVALUATION:
            raise ValueError("only an evaluation has a `protocol`")
        if self.kind is not Kind.TRAINING and self.training != TrainingPlan():
            raise ValueError("only a training job has a `training` plan")
        places = self.protocol and self.protocol.predictions is not Predictions.SCORES
        if places and not DRAWN_LABEL.fullmatch(self.label):
            raise ValueError("a drawn finding's `label` is lower-case words with hyphens")
        if self.is_summed and (why := _refuses_secure_sum(self)):
            raise ValueError(f'{why}: it has no `sum = "secure"`')
        return self

    @property
    def is_summed(self) -> bool:
        """Say whether the coordinator is to learn sums over hospitals alone."""
        return self.sum is Summing.SECURE

    @property
    def values(self) -> int:
        """Return how many numbers one update has."""
        return sum(spec.count for spec in self.weights.values()) if self.sends_tensors else 0

    @property
    def sends_tensors(self) -> bool:
        """Say whether clipped and noised tensors leave: a model's update, or a table of numbers."""
        return self.kind is not Kind.EVALUATION


def _refuses_secure_sum(manifest: JobManifest) -> str:
    """Say what of a job cannot be had from a sum; empty where all can."""
    if manifest.protocol is not None and manifest.protocol.predictions is not Predictions.SCORES:
        return f"statistics of {manifest.protocol.predictions} are shown by hospital"
    if manifest.training.sees_each_update:
        return f"the strategy {manifest.training.strategy} looks at each update"
    if manifest.training.weighting == "equal":
        return "hospitals count equally in its plan, and by patients in a sum"
    if manifest.training.enough:
        return "its rounds end with `enough` hospitals, and a sum with all that are in it"
    try:
        grid_of(manifest.clip, manifest.sigma, manifest.values)
    except ValueError as fault:
        return str(fault)
    return ""


def parse_manifest(text: str) -> JobManifest:
    """Read `job.toml`; ManifestFault names each wrong key."""
    try:
        return JobManifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise ManifestFault(f"{MANIFEST} is not TOML: {fault}") from fault
    except ValidationError as fault:
        raise ManifestFault(f"{MANIFEST}: {_explain(fault)}") from fault


def predicates(manifest: JobManifest) -> "list[question_pb2.Predicate]":
    """Return the cohort as the treaty's predicates, which `cohort` understands."""
    from protos.v1 import question_pb2

    return [
        question_pb2.Predicate(
            field=condition.field,
            operator=question_pb2.Operator.Value(f"OPERATOR_{condition.operator.name}"),
            values=condition.values,
        )
        for condition in manifest.cohort
    ]


def protocol_digest(manifest: JobManifest) -> bytes:
    """Name what a test set's protocol fixes, whichever product is tested by it."""
    assert manifest.protocol is not None
    inclusion: list[Value] = [
        {"field": one.field, "operator": str(one.operator), "values": [*one.values]}
        for one in manifest.cohort
    ]
    fields: dict[str, Value] = {"inclusion": inclusion, "label": manifest.label}
    fields |= manifest.protocol.fixed()
    return sha256(canonical_bytes("evaluation protocol", fields)).digest()


def _explain(fault: ValidationError) -> str:
    return "; ".join(
        f"`{'.'.join(map(str, error['loc'])) or 'file'}`: "
        + (_unknown(error["loc"]) if error["type"] == "extra_forbidden" else error["msg"])
        for error in fault.errors()
    )


_PARTS: Mapping[str, type[BaseModel]] = {
    "cohort": Condition,
    "weights": TensorSpec,
    "outputs": TensorSpec,
    "metrics": MetricSpec,
    "resources": Resources,
    "training": TrainingPlan,
    "protocol": EvaluationProtocol,
}


def _unknown(place: tuple[int | str, ...]) -> str:
    """Refuse a key, and say which one may have been meant."""
    part = _PARTS.get(str(place[0]), JobManifest) if len(place) > 1 else JobManifest
    part = Hit if place[:2] == ("protocol", "hit") and len(place) > 2 else part  # noqa: PLR2004
    known = [*part.model_fields, *(["outputs"] if part is JobManifest else [])]
    near = get_close_matches(str(place[-1]), known, n=1)
    return f"unknown key; is it `{near[0]}`?" if near else "unknown key"
