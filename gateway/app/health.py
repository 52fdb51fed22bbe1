"""Does it live, and is it ready: what a supervisor or a load balancer asks, beside the metrics."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from gateway.app.process import is_running, read_state
from gateway.app.setup import require_verified_escrow
from gateway.config import GatewayConfig
from gateway.durable import free_bytes
from gateway.errors import GatewayError

Start = Callable[[str, list[tuple[str, str]]], Any]
PLAIN = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def readiness(config: GatewayConfig) -> dict[str, bool]:
    """Say what must hold for an instance to be taken; the words are a closed set.

    The link is not among it: a hospital takes studies while the coordinator is away.
    """
    node = read_state(config.run_dir / "node.json")
    try:
        require_verified_escrow(config)
        escrowed = True
    except GatewayError:
        escrowed = False
    return {
        "receivers": is_running(config.run_dir / "lock") and bool(node),
        "disk": free_bytes(config.data) > config.disk.reserve_bytes,
        "escrow": escrowed,
    }


def make_site(registry: CollectorRegistry, config: GatewayConfig) -> Callable[..., Iterable[bytes]]:
    """Build what answers on the metrics port: /metrics, /healthz, /readyz."""
    metrics = make_wsgi_app(registry)

    def site(environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            found: Iterable[bytes] = metrics(environ, start)
            return found
        if path == "/healthz":
            return _say(start, "200 OK", {"alive": True})
        if path == "/readyz":
            ready = readiness(config)
            status = "200 OK" if all(ready.values()) else "503 Service Unavailable"
            return _say(start, status, ready)
        return _say(start, "404 Not Found", {"paths": ["/metrics", "/healthz", "/readyz"]})

    return site


def _say(start: Start, status: str, facts: Mapping[str, object]) -> Iterable[bytes]:
    start(status, [*PLAIN])  # wsgiref writes the length into the list it is given
    return [json.dumps(facts).encode()]
