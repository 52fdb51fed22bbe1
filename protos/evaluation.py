"""The protocol of a locked test set, fixed in a signed bundle before any hospital unlocks it."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)
from pydantic import model_validator as validated

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0, lt=1)]
MODEL = "ManufacturerModelName"  # its bins are the protocol's own, for models are without end
MODELS_AT_MOST = 32


class Predictions(StrEnum):
    """What a product says of a case."""

    SCORES = "scores"  # how probable the finding is
    BOXES = "boxes"  # where findings are, and how sure it is of each
    MASKS = "masks"  # which voxels are the finding


class Endpoint(StrEnum):
    AUC = "auc"
    SENSITIVITY = "sensitivity"  # of patients; of boxes, of findings
    SPECIFICITY = "specificity"
    FROC = "froc"  # mean sensitivity at 1/8 to 8 false marks a patient
    DICE = "dice"  # mean over patients with the finding


ENDPOINTS = {
    Predictions.SCORES: frozenset({Endpoint.AUC, Endpoint.SENSITIVITY, Endpoint.SPECIFICITY}),
    Predictions.BOXES: frozenset({Endpoint.FROC, Endpoint.SENSITIVITY}),
    Predictions.MASKS: frozenset({Endpoint.DICE}),
}


class HitBy(StrEnum):
    """When a box is a hit of a finding of the reference standard."""

    INSIDE = "inside"  # its centre lies in the finding's box
    DISTANCE = "distance"  # the two centres are at most `at` millimetres apart
    IOU = "iou"  # the boxes share at least `at` of the volume they cover together


class Hit(BaseModel):
    """The table `[protocol.hit]` of a test of boxes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: HitBy = HitBy.INSIDE
    at: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None

    @validated(mode="after")
    def _has_its_number(self) -> Self:
        if (self.at is None) != (self.by is HitBy.INSIDE):
            raise ValueError("`at` belongs to `distance` (mm) and `iou` (a share), which need it")
        if self.by is HitBy.IOU and self.at is not None and self.at > 1:
            raise ValueError("an `iou` is at most 1")
        return self


class Design(StrEnum):
    EXTERNAL = "external"  # hospitals that never train on the label, all their patients
    INTERNAL = "internal"  # the test split of hospitals that may train: overlap unknown


class Subgroup(StrEnum):
    SEX = "PatientSex"
    AGE = "PatientAge"
    MANUFACTURER = "Manufacturer"
    DEVICE = MODEL
    THICKNESS = "SliceThickness"
    GRADE = "QualityGrade"


class EvaluationProtocol(BaseModel):
    """The table `[protocol]` of an evaluation's `job.toml`.

    Inclusion filter and label stand in the manifest beside it. Threshold and comparator are the
    product's own; all else is the test set's, and one set has one protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    test_set: Name
    reference: Sentence  # how the truth was found
    predictions: Predictions = Predictions.SCORES
    endpoint: Endpoint = Endpoint.AUC
    threshold: Share | None = None  # at or above it a patient is called positive, a box counts
    hit: Hit | None = None  # of boxes: what a hit is
    subgroups: Annotated[tuple[Subgroup, ...], Field(max_length=len(Subgroup))] = ()
    models: Annotated[tuple[Sentence, ...], Field(max_length=MODELS_AT_MOST)] = ()
    design: Design = Design.EXTERNAL
    readers: bool = False  # report how readers of the label agree
    compare_with: Digest | None = None  # a bundle that was tested on the same set before

    @validated(mode="after")
    def _hangs_together(self) -> Self:
        if len(set(self.subgroups)) < len(self.subgroups):
            raise ValueError("a subgroup stands twice")
        if bool(self.models) != (Subgroup.DEVICE in self.subgroups):
            raise ValueError(f"`models` belong to the subgroup {MODEL}, and it needs them")
        if len({model.casefold() for model in self.models}) < len(self.models):
            raise ValueError("a model stands twice")
        return self

    @validated(mode="after")
    def _fits_what_is_predicted(self) -> Self:
        said, boxes = self.predictions, self.predictions is Predictions.BOXES
        if self.endpoint not in ENDPOINTS[said]:
            known = ", ".join(sorted(ENDPOINTS[said]))
            raise ValueError(f"the endpoint of a test of {said} is one of {known}")
        if (self.threshold is None) != (said is Predictions.MASKS):
            raise ValueError("`threshold` belongs to scores and boxes, which need it")
        if (self.hit is not None) != boxes:
            raise ValueError("`hit` belongs to boxes, which need it")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write a test of scores as it was written before there were others."""
        written: dict[str, Any] = write(self)
        newer = {"predictions", "hit"} if self.predictions is Predictions.SCORES else set()
        return {name: value for name, value in written.items() if name not in newer}

    @property
    def locked(self) -> float:
        """Return the threshold; 1 for masks, which have no score."""
        return 1.0 if self.threshold is None else self.threshold

    def fixed(self) -> dict[str, str | bool | list[str]]:
        """Return what no product may change."""
        # A test of scores is named as it was before there were others.
        places = {} if self.predictions is Predictions.SCORES else self._places()
        return places | {
            "test_set": self.test_set,
            "reference": self.reference,
            "endpoint": str(self.endpoint),
            "subgroups": sorted(map(str, self.subgroups)),
            "models": list(self.models),
            "design": str(self.design),
            "readers": self.readers,
        }

    def _places(self) -> dict[str, str | bool | list[str]]:
        hit = "" if self.hit is None else f"{self.hit.by} {self.hit.at or 0:g}"
        return {"predictions": str(self.predictions), "hit": hit}


def model_bin(number: int) -> str:
    """Return the closed word for a protocol's model, counted from 1."""
    return f"model {number}"
