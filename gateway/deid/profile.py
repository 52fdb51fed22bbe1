"""A profile: the Basic Profile, the options of Table E.1-1 a site chose, and its own exceptions."""

import json
import tomllib
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator
from pydicom.datadict import tag_for_keyword

from gateway.config import Settings, explain
from gateway.deid import tables
from gateway.errors import ConfigurationFault

# Changes whenever the code below this table would treat the same instance otherwise.
ENGINE_VERSION = 2

ActionCode = Literal["X", "Z", "D", "U", "K", "C"]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]


class Options(Settings):
    """The options of Table E.1-1 (PS3.15 E.3), each off unless the profile says otherwise."""

    retain_safe_private: bool = False
    retain_uids: bool = False
    retain_device_identity: bool = False
    retain_institution_identity: bool = False
    retain_patient_characteristics: bool = False
    retain_longitudinal_full_dates: bool = False
    retain_longitudinal_modified_dates: bool = False
    clean_descriptors: bool = False
    clean_structured_content: bool = False
    clean_graphics: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.retain_safe_private:
            raise ValueError(
                "`retain_safe_private` needs PS3.15 Table E.3.10-1, which is not imported: "
                "leave it false"
            )
        if self.retain_longitudinal_full_dates and self.retain_longitudinal_modified_dates:
            raise ValueError("dates are either kept or modified: set one of the two to false")
        return self


class Override(Settings):
    """One attribute this profile treats otherwise than the standard, and why."""

    action: ActionCode
    reason: Reason


class Profile(Settings):
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]
    description: str = ""
    base: Literal["basic"] = "basic"
    options: Options = Options()
    # Long free text (VR ST, LT, UT) under "clean": keep it cleaned, or let it go all the same.
    narrative: Literal["remove", "clean"] = "remove"
    age_at_most: Annotated[int, Field(ge=1, le=130)] = 89
    shift_days_at_most: Annotated[int, Field(ge=365, le=36500)] = 3650
    attributes: Mapping[str, Override] = {}

    @field_validator("attributes")
    @classmethod
    def _known(cls, attributes: Mapping[str, Override]) -> Mapping[str, Override]:
        for keyword in attributes:
            if tag_for_keyword(keyword) is None:
                raise ValueError(f"`{keyword}` is not a DICOM keyword")
        return attributes

    @cached_property
    def overrides(self) -> Mapping[int, Override]:
        return {
            tag: override
            for keyword, override in self.attributes.items()
            if (tag := tag_for_keyword(keyword)) is not None
        }

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of all that decides what an instance becomes: profile, tables and engine.

        The description says nothing to an instance, so it is left out.
        """
        decides = self.model_dump(mode="json", exclude={"description"})
        decides |= {"tables": tables.load().digest, "engine": ENGINE_VERSION}
        text = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return sha256(text.encode()).hexdigest()


def load_profile(name_or_path: str) -> Profile:
    """Read a shipped profile by name, or a site's own TOML file; else ConfigurationFault."""
    if name_or_path.endswith(".toml"):
        return _read(Path(name_or_path))
    shipped = resources.files("gateway.deid") / "profiles"
    names = sorted(
        entry.name.removesuffix(".toml")
        for entry in shipped.iterdir()
        if entry.name.endswith(".toml")
    )
    if name_or_path not in names:
        raise ConfigurationFault(
            f"there is no de-identification profile `{name_or_path}`: "
            f"name one of {', '.join(names)}, or a file that ends in .toml"
        )
    with resources.as_file(shipped / f"{name_or_path}.toml") as path:
        return _read(path)


def _read(path: Path) -> Profile:
    try:
        profile = Profile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as fault:
        raise ConfigurationFault(f"{path}: {explain(fault)}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"{path} is not TOML: {fault}") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{path} cannot be read: {fault}") from fault
    tables.load()
    return profile
