"""What each known caller did last at the DICOM door: kept by each receiver, read by the console."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateway.app.process import read_state
from gateway.config import GatewayConfig, Intake
from gateway.intake.request import OnEvent

ACCEPTED = "association_accepted"
FAULTS = frozenset({"association_rejected", "association_aborted", "certificate_refused"})


class Callers:
    """Passes events on, and remembers the last of each peer the settings name: never a stranger."""

    def __init__(
        self,
        passed_to: OnEvent,
        intake: Intake,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._passed_to = passed_to
        self._named = {peer.ae_title: peer.name for peer in intake.peers}
        self._names = {peer.name for peer in intake.peers}
        self._now = now
        self._lock = threading.Lock()
        self._last: dict[str, dict[str, Any]] = {}

    def hear(self, event: str, /, **facts: object) -> None:
        self._passed_to(event, **facts)
        if event != ACCEPTED and event not in FAULTS:
            return
        name = str(facts.get("peer") or self._named.get(str(facts.get("caller", "")), ""))
        if name not in self._names:
            return
        at = self._now().isoformat(timespec="seconds")
        said = {key: str(facts[key]) for key in ("source", "reason", "why") if facts.get(key)}
        what = {"at": at} if event == ACCEPTED else {"at": at, "event": event} | said
        with self._lock:
            key = "accepted" if event == ACCEPTED else "fault"
            self._last[name] = self._last.get(name, {}) | {key: what}

    def snapshot(self) -> dict[str, dict[str, Any]]:
        with self._lock:
            return dict(self._last)


def last_of(config: GatewayConfig) -> dict[str, dict[str, Any]]:
    """Return each peer's last association and fault, whichever receiver had it."""
    found: dict[str, dict[str, Any]] = {}
    for file in config.run_dir.glob("callers-*.json"):
        for name, last in read_state(file).items():
            held = found.setdefault(name, {})
            for key, what in last.items():
                if key not in held or held[key]["at"] < what["at"]:
                    held[key] = what
    return found
