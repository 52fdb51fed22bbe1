"""Who may call and whom we call, for the console: AE titles, addresses, the last of each."""

from typing import Any

from gateway.app.callers import last_of
from gateway.config import GatewayConfig


def sources_of(config: GatewayConfig) -> list[dict[str, Any]]:
    last = last_of(config)
    return [
        {
            "name": peer.name,
            "ae_title": peer.ae_title,
            "host": peer.host or "",
            "port": peer.port,
            "tls": peer.tls,
            "may_store": peer.may_store,
            "addresses": [str(network) for network in peer.addresses],
            "pinned": len(peer.certificate_sha256),
            "accepted": last.get(peer.name, {}).get("accepted"),
            "fault": last.get(peer.name, {}).get("fault"),
        }
        for peer in config.intake.peers
    ]
