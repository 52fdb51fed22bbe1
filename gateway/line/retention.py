"""How long quarantine is kept: what nobody decided about is erased when its time is over."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from gateway.line.terms import Audit
from gateway.vault.vault import Vault

log = structlog.get_logger()

LOOK_SECONDS = 3600.0


class Retention:
    """Looks once an hour; `keep_days` 0 keeps everything."""

    def __init__(
        self, vault: Vault, audit: Audit, keep_days: int, clock: Callable[[], float]
    ) -> None:
        self._vault = vault
        self._audit = audit
        self._keep_days = keep_days
        self._clock = clock
        self._due = 0.0

    def enforce(self) -> int:
        """Erase what is too old, on the trail first; return how much that was."""
        now = self._clock()
        if self._keep_days == 0 or now < self._due:
            return 0
        self._due = now + LOOK_SECONDS
        entries = self._vault.quarantined_before(
            datetime.fromtimestamp(now, UTC) - timedelta(days=self._keep_days)
        )
        for entry in entries:
            self._audit.record("quarantine_expired", entry=entry, keep_days=self._keep_days)
            self._vault.erase(entry)
            log.info("quarantine_expired", entry=entry)
        return len(entries)
