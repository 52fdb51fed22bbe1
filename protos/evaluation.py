"""The protocol of a locked test set, fixed in a signed bundle before any hospital unlocks it."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic import model_validator as validated

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0, lt=1)]
MODEL = "ManufacturerModelName"  # its bins are the protocol's own, for models are without end
MODELS_AT_MOST = 32


class Endpoint(StrEnum):
    AUC = "auc"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


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
    endpoint: Endpoint = Endpoint.AUC
    threshold: Share  # at or above it a patient is called positive
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

    def fixed(self) -> dict[str, str | bool | list[str]]:
        """Return what no product may change."""
        return {
            "test_set": self.test_set,
            "reference": self.reference,
            "endpoint": str(self.endpoint),
            "subgroups": sorted(map(str, self.subgroups)),
            "models": list(self.models),
            "design": str(self.design),
            "readers": self.readers,
        }


def model_bin(number: int) -> str:
    """Return the closed word for a protocol's model, counted from 1."""
    return f"model {number}"
