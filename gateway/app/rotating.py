"""Rotation of the keys that only seal: what they sealed before still opens."""

from contextlib import closing
from typing import Any

from gateway.app.build import build_audit
from gateway.app.process import only_one
from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault
from gateway.keys import ROTATING, Purpose, key_versions, rotate_key


def rotate(config: GatewayConfig, name: str, by: str) -> dict[str, Any]:
    """Let a new version write from the next start on; the gateway must be stopped."""
    try:
        purpose = Purpose(name)
    except ValueError as fault:
        raise ConfigurationFault(f"name one of {', '.join(sorted(ROTATING))}") from fault
    with only_one(config.run_dir / "lock"), closing(build_audit(config)) as audit:
        version = rotate_key(config.keys_dir, purpose)
        audit.record("key_rotated", key=str(purpose), version=version, by=by)
    return {"key": str(purpose), "version": version}


def versions(config: GatewayConfig) -> list[dict[str, Any]]:
    """List the keys that rotate and the version that writes."""
    found = key_versions(config.keys_dir)
    return [{"key": str(purpose), "version": version} for purpose, version in found.items()]
