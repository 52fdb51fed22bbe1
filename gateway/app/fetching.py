"""The back-fill as an operator starts it: one at a time, on the trail, ended by a signal."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from gateway.app.build import build_audit, build_custody, build_profile
from gateway.app.process import configure_logs, harden, one_of_several, only_one, stop_on_signals
from gateway.app.setup import require_verified_escrow
from gateway.config import GatewayConfig
from gateway.errors import EnvironmentFault
from gateway.intake.fetch import fetch
from gateway.intake.fetch_rules import FetchQuery, Method, Pace
from gateway.intake.fetch_terms import Progress


def fetch_from(
    config: GatewayConfig,
    peer: str,
    query: FetchQuery,
    pace: Pace,
    method: Method,
    progress: Progress,
    *,
    again: bool = False,
) -> dict[str, Any]:
    """Fetch until all is here, or until SIGTERM; the same command goes on where it ended."""
    harden(config.run_as)
    configure_logs()
    require_verified_escrow(config)
    stop = threading.Event()
    stop_on_signals(stop)
    audit = build_audit(config)
    try:
        with _only_fetch(config), one_of_several(config.takers_lock):
            asked = {"peer": peer, "first": query.first.isoformat(), "last": query.last.isoformat()}
            audit.record("fetch_started", **asked, modalities=query.selection, again=again)
            report = fetch(
                config,
                peer,
                query,
                build_custody(config, audit),
                progress,
                pace=pace,
                method=method,
                stop=stop,
                again=build_profile(config).digest if again else "",
            )
            counts = {"fetched": report.fetched, "failed": report.failed}
            audit.record("fetch_ended", **asked, **counts, complete=report.complete)
    finally:
        audit.close()
    return asdict(report) | {
        "days_not_listed": [day.isoformat() for day in report.days_not_listed],
        "seconds": round(report.seconds, 1),
        "complete": report.complete,
    }


@contextmanager
def _only_fetch(config: GatewayConfig) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(only_one(config.run_dir / "fetch.lock"))
        except EnvironmentFault as fault:
            sentence = "a back-fill runs already: let it end, or stop it first"
            raise EnvironmentFault(sentence) from fault
        yield
