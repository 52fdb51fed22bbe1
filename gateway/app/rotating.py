"""Rotation of keys: of those that only seal in a moment, of those that hide patients in a run."""

from contextlib import closing
from typing import Any

from gateway.app.build import build_audit
from gateway.app.process import only_one
from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault
from gateway.keys import (
    REMAPPING,
    ROTATING,
    Purpose,
    key_versions,
    rotate_key,
    rotation_under_way,
)


def purpose_named(name: str) -> Purpose:
    """Return the key of a name; ConfigurationFault where none of it rotates."""
    for purpose in sorted(ROTATING | REMAPPING):
        if purpose == name:
            return purpose
    raise ConfigurationFault(f"name one of {', '.join(sorted(ROTATING | REMAPPING))}")


def rotate(config: GatewayConfig, purpose: Purpose, by: str) -> dict[str, Any]:
    """Let a new version seal from the next start on; the gateway must be stopped."""
    with only_one(config.run_dir / "lock"), closing(build_audit(config)) as audit:
        version = rotate_key(config.keys_dir, purpose)
        audit.record("key_rotated", key=str(purpose), version=version, by=by)
    return {"key": str(purpose), "version": version}


def versions(config: GatewayConfig) -> list[dict[str, Any]]:
    """List the keys that rotate, the version that writes, and whether the store is behind it."""
    under_way = rotation_under_way(config.keys_dir)
    return [
        {
            "key": str(purpose),
            "version": version,
            "under_way": under_way is not None and under_way.key is purpose,
        }
        for purpose, version in sorted(key_versions(config.keys_dir).items())
    ]
