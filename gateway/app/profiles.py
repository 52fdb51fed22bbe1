"""Every profile something was stored under, kept by its digest, to be compared later."""

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.app.build import build_profile
from gateway.config import GatewayConfig
from gateway.deid.profile import ENGINE_VERSION, Profile, load_profile, shipped_names
from gateway.deid.tables import SHIPPED, Sources, load
from gateway.durable import make_durably, replace_durably
from gateway.errors import ConfigurationFault

__all__ = ["known_profiles", "remember_profile"]
FORGOTTEN = (ValueError, KeyError, TypeError, OSError, ConfigurationFault, tomllib.TOMLDecodeError)


def remember_profile(config: GatewayConfig) -> Profile:
    """Keep the profile in force before anything is stored under it."""
    profile = build_profile(config)
    path = config.profiles_dir / f"{profile.digest}.json"
    if not path.exists():
        make_durably(config.profiles_dir)
        kept = {
            "engine": ENGINE_VERSION,
            "table": _named(config.deid.table),
            "safe_private_table": _named(config.deid.safe_private_table),
            "profile": profile.model_dump(mode="json"),
        }
        replace_durably(path, json.dumps(kept, ensure_ascii=False, indent=1).encode())
    return profile


def known_profiles(config: GatewayConfig) -> dict[str, Profile]:
    """Return the profiles that can still be told whole, by digest; those shipped among them.

    One of another version of the engine, or whose tables are gone, cannot: its digest is another.
    """
    shipped = (load_profile(name) for name in shipped_names())
    kept = (_read(path) for path in sorted(config.profiles_dir.glob("*.json")))
    found = [*shipped, *(profile for profile in kept if profile is not None)]
    return {profile.digest: profile for profile in found}


def _read(path: Path) -> Profile | None:
    try:
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        named = (kept["table"], kept["safe_private_table"])
        sources = Sources(*(Path(name) if name else None for name in named))
        profile = Profile.model_validate(kept["profile"])
        whole = profile.with_tables(load(sources) if sources != SHIPPED else load())
    except (*FORGOTTEN, ValidationError):
        return None
    return whole if whole.digest == path.stem else None


def _named(path: Path | None) -> str | None:
    return None if path is None else str(path)
