"""What the federation's data look like, as numbers: read from a file, refused where it is odd."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic import model_validator as validated

from gateway.config import explain
from gateway.errors import ConfigurationFault

SHIPPED = Path(__file__).with_name("shapes.toml")
Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]


class Broken(StrEnum):
    """A way in which a series is broken."""

    CUT_SHORT = "cut_short"  # a file ends in its pixels
    NO_POSITION = "no_position"  # slices do not say where they are
    TWO_MATRICES = "two_matrices"  # one slice is of another size
    EMPTY_FILE = "empty_file"
    NO_DICOM = "no_dicom"  # a file that is none


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeriesShape(_Part):
    """One kind of series."""

    modality: Literal["CT", "MR", "DX"]
    share: Share
    manufacturers: Words
    body_parts: Words
    matrix: Annotated[int, Field(ge=16, le=4096)]
    field_mm: Annotated[float, Field(gt=0, le=1000)]
    thickness_mm: Annotated[tuple[Annotated[float, Field(ge=0, le=50)], ...], Field(min_length=1)]
    slices: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=2000)]]
    noise: Annotated[float, Field(ge=0, le=500)]

    @validated(mode="after")
    def _from_few_to_many(self) -> Self:
        if self.slices[0] > self.slices[1]:
            raise ValueError("`slices` is [fewest, most]")
        return self


class LabelShape(_Part):
    prevalence: Share = 0.45
    readers: Annotated[int, Field(ge=1, le=10)] = 2
    disagree: Share = 0.0
    unlabelled: Share = 0.0


class MissingShape(_Part):
    """How often an attribute is absent."""

    PatientSex: Share = 0.0
    PatientAge: Share = 0.0
    BodyPartExamined: Share = 0.0
    Manufacturer: Share = 0.0
    SliceThickness: Share = 0.0


class BrokenShape(_Part):
    share: Share = 0.0
    ways: Annotated[tuple[Broken, ...], Field(min_length=1)] = tuple(Broken)


class Shape(_Part):
    """The whole of a shape file."""

    series: Annotated[tuple[SeriesShape, ...], Field(min_length=1)]
    labels: LabelShape = LabelShape()
    missing: MissingShape = MissingShape()
    broken: BrokenShape = BrokenShape()

    def only(self, modalities: Iterable[str]) -> "Shape":
        """Return the shape of these modalities alone; all of it where none of them is known."""
        wanted = set(modalities)
        kept = tuple(one for one in self.series if one.modality in wanted)
        return self.model_copy(update={"series": kept}) if kept else self


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of one drawn series."""

    side: int
    slices: int
    spacing_mm: float
    thickness_mm: float


def load_shape(file: Path = SHIPPED) -> Shape:
    """Read a shape file; ConfigurationFault names each wrong key."""
    try:
        return Shape.model_validate(tomllib.loads(file.read_text("utf-8")))
    except FileNotFoundError as fault:
        raise ConfigurationFault(f"{file} is missing: give --shape a TOML file") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{file} is not TOML: {fault}") from fault
    except ValidationError as fault:
        raise ConfigurationFault(f"{file}: {explain(fault)}") from fault
