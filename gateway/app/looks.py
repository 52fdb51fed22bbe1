"""The looks that were burnt, for whoever asks what a product has seen."""

from contextlib import closing
from typing import Any

from gateway.app.build import build_audit, build_policy
from gateway.app.outbound import build_locked_sets
from gateway.config import GatewayConfig


def looks_taken(config: GatewayConfig) -> dict[str, Any]:
    """Return this hospital's key for statistics, and every look by test set and product."""
    with (
        closing(build_audit(config)) as audit,
        closing(build_locked_sets(config, build_policy(config), audit)) as sets,
    ):
        return {"report_key": sets.public_key.hex(), "looks": sets.looks()}
