"""A profile: the Basic Profile, the options of Table E.1-1 a site chose, and its own exceptions."""

import json
import tomllib
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.config import Settings, explain
from gateway.deid import identity, pixel_rules
from gateway.deid.faces import FaceSettings
from gateway.deid.pixel_rules import PixelSettings
from gateway.deid.tables import SHIPPED, Sources, Tables
from gateway.deid.tables import load as load_tables
from gateway.errors import ConfigurationFault

# Changes whenever the code below this table would treat the same instance otherwise.
ENGINE_VERSION = 3

ActionCode = Literal["X", "Z", "D", "U", "K", "C"]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]
# Kinds of what identifies a person directly; a place may be kept (`retain_institution_identity`).
NAMING = frozenset({"numbers", "people", "births"})
# What an instance is filed under: an override would part its file from its name.
FILED_UNDER = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})
NO_PRIVATE_TABLE = (
    "`retain_safe_private` needs PS3.15 Table E.3.10-1, which is not imported: run `radfed gateway "
    "deid import-table` on NEMA's part15.xml and name its file as `safe_private_table` under "
    "[deid], or leave the option false"
)


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
    clean_pixel_data: bool = False
    clean_recognizable_visual_features: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.retain_longitudinal_full_dates and self.retain_longitudinal_modified_dates:
            raise ValueError("dates are either kept or modified: set one of the two to false")
        return self


class Override(Settings):
    """One attribute this profile treats otherwise than the standard, and why."""

    action: ActionCode
    reason: Reason


class Profile(Settings):
    """What decides about every attribute; `tables` are the standard's, in the site's edition."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]
    description: str = ""
    base: Literal["basic"] = "basic"
    options: Options = Options()
    # Long free text (VR ST, LT, UT) under "clean": keep it cleaned, or let it go all the same.
    narrative: Literal["remove", "clean"] = "remove"
    age_at_most: Annotated[int, Field(ge=1, le=130)] = 89
    shift_days_at_most: Annotated[int, Field(ge=365, le=36500)] = 3650
    attributes: Mapping[str, Override] = {}
    pixels: PixelSettings = PixelSettings()
    faces: FaceSettings = FaceSettings()
    _tables: Tables | None = PrivateAttr(None)

    @property
    def tables(self) -> Tables:
        return self._tables or load_tables()

    def with_tables(self, found: Tables) -> Self:
        """Return this profile over those tables; ConfigurationFault where it needs others."""
        if self.options.retain_safe_private and found.private is None:
            raise ConfigurationFault(NO_PRIVATE_TABLE)
        copy = self.model_copy()
        copy._tables = found  # noqa: SLF001 - its own class
        copy.__dict__.pop("digest", None)
        return copy

    def __hash__(self) -> int:
        return hash(self.digest)

    @model_validator(mode="after")
    def _overrides_are_true(self) -> Self:
        """Refuse an exception that would make a lie of what the instance says was done to it."""
        for keyword in self.attributes:
            if complaint := _complaint(self, keyword):
                raise ValueError(f"`attributes.{keyword}`: {complaint}")
        return self

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

    @property
    def cleaned_pixels(self) -> PixelSettings | None:
        """Say how text in pixels is looked for; None where it is not."""
        return self.pixels if self.options.clean_pixel_data else None

    @property
    def removes_faces(self) -> bool:
        return self.options.clean_recognizable_visual_features

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of all that decides what an instance becomes: profile, tables and engine.

        The description says nothing to an instance, so it is left out.
        """
        decides = self.model_dump(mode="json", exclude={"description"})
        decides |= {"tables": self.tables.digest, "engine": ENGINE_VERSION}
        decides |= {"devices": [rule.model_dump(mode="json") for rule in pixel_rules.shipped()]}
        text = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return sha256(text.encode()).hexdigest()


def load_profile(name_or_path: str, sources: Sources = SHIPPED) -> Profile:
    """Read a shipped profile by name, or a site's own TOML file; else ConfigurationFault."""
    if name_or_path.endswith(".toml"):
        return _read(Path(name_or_path), sources)
    if name_or_path not in (names := shipped_names()):
        raise ConfigurationFault(
            f"there is no de-identification profile `{name_or_path}`: "
            f"name one of {', '.join(names)}, or a file that ends in .toml"
        )
    shipped = resources.files("gateway.deid") / "profiles"
    with resources.as_file(shipped / f"{name_or_path}.toml") as path:
        return _read(path, sources)


def shipped_names() -> list[str]:
    """Name the profiles that come with the product."""
    shipped = resources.files("gateway.deid") / "profiles"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in shipped.iterdir()
        if entry.name.endswith(".toml")
    )


def _complaint(profile: Profile, keyword: str) -> str | None:
    """Say why an attribute cannot be treated as the profile wants it; None where it can."""
    tag, action = tag_for_keyword(keyword), profile.attributes[keyword].action
    assert tag is not None
    vr, options = dictionary_VR(tag), profile.options
    naming = vr == "PN" or identity.kinds().get(tag) in NAMING
    true_dates = options.retain_longitudinal_full_dates
    cases = (
        (tag in FILED_UNDER, "instances are filed under it: it follows `retain_uids`"),
        (
            action == "U" and vr not in ("UI", "SQ"),
            "only UIDs, and sequences that hold them, can be remapped",
        ),
        (
            action == "K" and vr == "UI" and not options.retain_uids,
            "UIDs are kept by `retain_uids` alone, or references would not meet",
        ),
        (
            action in ("K", "C") and naming,
            "it names a person: the instance could not say that it is de-identified",
        ),
        (
            action == "K" and vr in ("DA", "DT") and not true_dates,
            "a true date beside others gives them away: set `retain_longitudinal_full_dates`",
        ),
        (
            action == "C" and vr in ("DA", "DT") and true_dates,
            "a shifted date beside true ones gives the shift away",
        ),
    )
    return next((complaint for holds, complaint in cases if holds), None)


def _read(path: Path, sources: Sources) -> Profile:
    try:
        profile = Profile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as fault:
        raise ConfigurationFault(f"{path}: {explain(fault)}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"{path} is not TOML: {fault}") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{path} cannot be read: {fault}") from fault
    try:
        return profile.with_tables(load_tables(sources))
    except ConfigurationFault as fault:
        raise ConfigurationFault(f"{path}: {fault}") from fault
