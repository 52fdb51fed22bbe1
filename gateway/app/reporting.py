"""Tells the hospital's audit repository, from the trail and the index; resumes where it was.

The trail is the queue: it is on disk already, and what was sent is a number in one small file.
"""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from threading import Event

import structlog

from gateway.app.process import read_state
from gateway.audit import AuditTrail
from gateway.config import AuditSyslog, GatewayConfig
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault, PeerUnreachable
from gateway.store.index import Index
from gateway.syslog.frame import framed
from gateway.syslog.messages import MEANINGS, SECURITY_ALERT, Received, of_event, of_received
from gateway.syslog.repository import Repository

POLL_SECONDS = 1.0
AGAIN_SECONDS = 15.0
QUIET_SECONDS = 10.0  # a study to which nothing was added for so long has come in
BATCH = 200
NEW = """
    SELECT instance.rowid AS place, study.study_uid, study.filed AS patient, sop_class_uid
    FROM instance JOIN series USING (series_uid) JOIN study USING (study_uid)
    WHERE instance.rowid > ? ORDER BY instance.rowid LIMIT 5000
"""
LAST = "SELECT coalesce(max(rowid), 0) AS place FROM instance"

log = structlog.get_logger()


@dataclass(slots=True)
class Arriving:
    """A study that comes in."""

    patient: str
    first: int  # the row of its first instance
    changed: float
    classes: Counter[str] = field(default_factory=Counter)


def sent_so_far(config: GatewayConfig) -> dict[str, int]:
    kept = read_state(config.data / "audit.sent.json")
    return {name: int(kept[name]) for name in ("trail", "index") if name in kept}


def waiting(config: GatewayConfig) -> int:
    """Return how many entries of the trail the repository has not taken; 0 without one."""
    if config.audit.syslog is None:
        return 0
    with closing(AuditTrail.open(config.audit_file)) as trail:
        return trail.head()[0] - sent_so_far(config).get("trail", 0)


class Reporter:
    """Follows the trail and the index; one message at least for each thing, in order."""

    def __init__(
        self,
        config: GatewayConfig,
        settings: AuditSyslog,
        trail: AuditTrail,
        repository: Repository | None = None,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._settings = settings
        self._trail = trail
        self._repository = repository or Repository(settings)
        self._quiet = quiet_seconds
        self._clock = clock
        self._arriving: dict[str, Arriving] = {}
        known = sent_so_far(config)
        self._sent = known.get("trail", max(0, trail.head()[0] - 1))  # from when it was set up
        self._row = known.get("index", -1)  # -1: from what comes next
        self._failing = False
        if not known:
            self._remember()

    def run(self, stop: Event) -> None:
        """Report until `stop`, and then once more: that the gateway stopped is told, too."""
        while not stop.wait(POLL_SECONDS if not self._failing else AGAIN_SECONDS):
            self.attempt()
        self.attempt()
        self._repository.close()

    def attempt(self) -> bool:
        """Send what there is; False where the repository did not take it: it stays queued."""
        try:
            while self._send_trail():
                pass
            self._send_arrivals()
        except (PeerUnreachable, ConfigurationFault) as fault:
            if not self._failing:
                log.warning("audit_repository_unreachable", says=str(fault))
            self._failing = True
            return False
        self._failing = False
        return True

    def _send_trail(self) -> bool:
        """Send the next entries; return whether there were any."""
        newest = self._trail.head()[0]
        if newest - self._sent > self._settings.backlog_at_most:
            skipped = newest - self._sent - self._settings.backlog_at_most
            self._sent += skipped
            self._trail.record("audit_skipped", entries=skipped)
        batch = list(islice(self._trail.events(self._sent), BATCH))
        if not batch:
            return False
        frames = []
        for event in batch:
            by = event.facts.get("by")
            message = of_event(event.event, event.at, self._config.site, str(by) if by else None)
            if message is not None:
                alert = MEANINGS[event.event].event is SECURITY_ALERT
                frames.append(self._framed(message, event.at, alert=alert))
        if frames:
            self._repository.send(frames)
        self._sent = batch[-1].number
        self._remember()
        return True

    def _send_arrivals(self) -> None:
        with closing(Index.open(self._config.index_file)) as index:
            newest = int(index.read(LAST)[0]["place"])
            if self._row < 0 or self._row > newest:  # the index was rebuilt: its rows are others
                self._row = newest
                self._arriving.clear()
                self._remember()
                return
            rows = index.read(NEW, (self._seen_until(),))
        frames = list(self._begun(rows))
        now = self._clock()
        over = [uid for uid, each in self._arriving.items() if now - each.changed >= self._quiet]
        at = datetime.now(UTC).isoformat()
        for uid in over:
            each = self._arriving[uid]
            received = Received(uid, each.patient, each.classes)
            message = of_received(received, at, self._config.site, ended=True)
            frames.append(self._framed(message, at, alert=False))
        if frames:
            self._repository.send(frames)
        for uid in over:
            del self._arriving[uid]
        if not self._arriving:
            self._row = max(self._row, self._looked_at)
        if frames:
            self._remember()

    _looked_at = 0  # the newest row that was counted, sent or not

    def _seen_until(self) -> int:
        self._looked_at = max(self._looked_at, self._row)
        return self._looked_at

    def _begun(self, rows: Sequence[sqlite3.Row]) -> Iterator[bytes]:
        """Count what came in; yield a message for each study that begins."""
        now, at = self._clock(), datetime.now(UTC).isoformat()
        for row in rows:
            uid, place = str(row["study_uid"]), int(row["place"])
            if uid not in self._arriving:
                self._arriving[uid] = Arriving(str(row["patient"]), place, now)
                received = Received(uid, str(row["patient"]))
                message = of_received(received, at, self._config.site, ended=False)
                yield self._framed(message, at, alert=False)
            self._arriving[uid].classes[str(row["sop_class_uid"])] += 1
            self._arriving[uid].changed = now
            self._looked_at = max(self._looked_at, place)

    def _framed(self, message: bytes, at: str, *, alert: bool) -> bytes:
        return framed(message, at, f"radfed-{self._config.site}", os.getpid(), alert=alert)

    def _remember(self) -> None:
        """Note what was taken; a study that still comes in is told again after a restart."""
        rows = [each.first - 1 for each in self._arriving.values()]
        text = f'{{"trail": {self._sent}, "index": {min([self._row, *rows])}}}'
        replace_durably(self._config.data / "audit.sent.json", text.encode())
