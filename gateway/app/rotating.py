"""Rotation of keys: those that seal or draw turn in a moment, those that hide patients in a run."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from gateway.app.build import build_audit
from gateway.app.outbound import build_privacy
from gateway.app.process import only_one
from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault
from gateway.keys import (
    ANSWERING,
    REMAPPING,
    ROTATING,
    Purpose,
    key_versions,
    rotate_key,
    rotation_under_way,
)


def purpose_named(name: str) -> Purpose:
    """Return the key of a name; ConfigurationFault where none of it rotates."""
    rotating = sorted(ROTATING | ANSWERING | REMAPPING)
    for purpose in rotating:
        if purpose == name:
            return purpose
    raise ConfigurationFault(f"name one of {', '.join(rotating)}")


def rotate(config: GatewayConfig, purpose: Purpose, by: str) -> dict[str, Any]:
    """Let a new version seal from the next start on; the gateway must be stopped."""
    with only_one(config.run_dir / "lock"), closing(build_audit(config)) as audit:
        version = rotate_key(config.keys_dir, purpose)
        audit.record("key_rotated", key=str(purpose), version=version, by=by)
    return {"key": str(purpose), "version": version}


def turn_noise(config: GatewayConfig, by: str) -> dict[str, Any]:
    """Let what was not asked yet be drawn under a new version; what was answered is replayed.

    A turn that a stop kept off the trail is told now, and not made a second time.
    """
    with closing(build_audit(config)) as audit, closing(build_privacy(config)) as privacy:
        version, who = privacy.turns.turn(datetime.now(UTC), by)
        audit.record("key_rotated", key=str(Purpose.NOISE), version=version, by=who)
        privacy.turns.tell(version)  # after the event: a power cut between tells it twice
    return {"key": str(Purpose.NOISE), "version": version}


def versions(config: GatewayConfig) -> list[dict[str, Any]]:
    """List the keys that rotate, the version that writes, and whether the store is behind it."""
    under_way = rotation_under_way(config.keys_dir)
    with closing(build_privacy(config)) as privacy:
        noise = {Purpose.NOISE: privacy.turns.newest()}
    return [
        {
            "key": str(purpose),
            "version": version,
            "under_way": under_way is not None and under_way.key is purpose,
        }
        for purpose, version in sorted((key_versions(config.keys_dir) | noise).items())
    ]
