"""Every exit but the link: what is open, and what it can carry. All are off by default."""

from typing import Any

from gateway.config import GatewayConfig


def exits(config: GatewayConfig) -> dict[str, Any]:
    """List the other exits; none of them carries an identity."""
    metrics, syslog = config.metrics, config.audit.syslog
    fetched = [peer.name for peer in config.intake.peers if peer.host is not None]
    return {
        "metrics": f"{metrics.host}:{metrics.port}" if metrics else "off",
        "audit_syslog": f"{syslog.host}:{syslog.port}" if syslog else "off",
        "requests_to_peers": ", ".join(fetched) or "none",
        "backups": "by `radfed gateway backup` alone",
    }
