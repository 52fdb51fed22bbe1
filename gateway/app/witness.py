"""What the door tells the audit trail: seldom enough that nobody can fill it from outside."""

import threading
import time
from collections.abc import Callable
from typing import Final

from gateway.audit import AuditTrail
from gateway.intake.request import OnEvent

AUDITED: Final = frozenset({"certificate_refused"})
AGAIN_SECONDS: Final = 60.0  # the same event about the same peer is recorded once a minute


class Witness:
    """Passes events on, and records those that say somebody was not who they claimed."""

    def __init__(
        self, passed_to: OnEvent, audit: AuditTrail, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._passed_to = passed_to
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._recorded: dict[tuple[str, str], float] = {}

    def hear(self, event: str, /, **facts: object) -> None:
        self._passed_to(event, **facts)
        if event in AUDITED and self._is_news(event, str(facts.get("peer"))):
            self._audit.record(event, **{name: str(fact) for name, fact in facts.items()})

    def _is_news(self, event: str, peer: str) -> bool:
        now = self._clock()
        with self._lock:
            before = self._recorded.get((event, peer))
            if before is not None and now - before < AGAIN_SECONDS:
                return False
            self._recorded[event, peer] = now
        return True
