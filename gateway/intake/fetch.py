"""Back-fill: the studies of past years, from a PACS into custody, at a pace the PACS can bear.

Days are listed first (C-FIND), so that there is an estimate; then each study's wanted series are
moved to our own AE title, where the running receiver takes them as it takes any other. Whoever
cannot move to us is asked by C-GET. What is in custody is noted in `data/fetch.db`, so that a
killed back-fill goes on where it was.
"""

import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum, auto
from functools import partial
from typing import Final, TypeVar

from gateway.config import GatewayConfig, Intake, Peer
from gateway.durable import free_bytes
from gateway.errors import ConfigurationFault, PeerUnreachable, ReserveReached
from gateway.intake.calling import named
from gateway.intake.custody import Custody
from gateway.intake.fetch_get import Getter
from gateway.intake.fetch_log import FetchLog
from gateway.intake.fetch_pacs import (
    AssociationLost,
    FoundSeries,
    FoundStudy,
    Pacs,
    QueryRefused,
)
from gateway.intake.fetch_rules import FetchQuery, Method, Outcome, Pace
from gateway.intake.fetch_terms import FetchProgress, FetchReport, Phase, Progress
from gateway.keys import Purpose, SiteSecret

T = TypeVar("T")

PAUSES_SECONDS: Final = (1.0, 5.0, 30.0, 120.0)  # before a PACS that went away is called again
FAILURES_IN_A_ROW: Final = 5  # then something is wrong that more of the same will not mend
ATTEMPTS: Final = 2  # a study that failed is tried again after all others


class NothingComes(PeerUnreachable):
    """The PACS lists studies, and then neither moves nor gives them."""

    def __init__(self, peer: Peer, ours: Intake) -> None:
        super().__init__(
            f"{named(peer)} lists studies but sends none: check that it knows `{ours.ae_title}` "
            f"with this machine's address and port {ours.port}, that this gateway is running and "
            f"lets `{peer.ae_title}` call, or that it allows C-GET"
        )


class End(Enum):
    """How the turn of one study ended."""

    FETCHED = auto()
    WITHOUT = auto()  # nothing in it was asked for
    FAILED = auto()


class _StopAsked(Exception):
    """Someone asked us to end."""


def _now() -> datetime:
    return datetime.now().astimezone()


def fetch(
    config: GatewayConfig,
    peer_name: str,
    query: FetchQuery,
    custody: Custody,
    progress: Progress = lambda _progress: None,
    *,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    method: Method = Method.AUTO,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = _now,
    again: str = "",
) -> FetchReport:
    """Fetch what the query names and is not here yet; PeerUnreachable when the PACS stays away.

    `again`: a profile's digest; what was not yet fetched under that one then counts as not here.
    """
    peer = _peer_named(config, peer_name)
    key = SiteSecret.load(config.site_secret).subkey(Purpose.FETCH)
    if again:
        key = hmac.digest(key, f"again under {again}".encode("ascii"), "sha256")
    log = FetchLog.open(config.data / "fetch.db", key)
    try:
        with Pacs(config, peer) as pacs:
            getter = Getter(pacs, custody)
            try:
                return Backfill(config, pacs, getter, log, progress, pace, method, stop, now).run(
                    query
                )
            finally:
                getter.hang_up()
    finally:
        log.close()


def _peer_named(config: GatewayConfig, name: str) -> Peer:
    for peer in config.intake.peers:
        if name in (peer.name, peer.ae_title):
            return peer
    known = ", ".join(peer.name for peer in config.intake.peers) or "none"
    raise ConfigurationFault(f"no peer is called {name!r}; the settings name: {known}")


@dataclass(slots=True)
class Backfill:
    """One run: list, then fetch study after study."""

    config: GatewayConfig
    pacs: Pacs
    getter: Getter
    log: FetchLog
    progress: Progress
    pace: Pace
    method: Method
    stop: threading.Event | None
    now: Callable[[], datetime]
    _at: FetchProgress = field(default=FetchProgress(), init=False)
    _moved: int = field(default=0, init=False)
    _got: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)  # in a row
    _began: datetime | None = field(default=None, init=False)  # the last study
    _was_there: bool = field(default=False, init=False)  # the PACS has answered once
    _working_seconds: float = field(default=0.0, init=False)

    def run(self, query: FetchQuery) -> FetchReport:
        started, stopped = time.monotonic(), ""
        refused: list[date] = []
        try:
            todo = self._list(query, refused)
            for attempt in range(ATTEMPTS):
                todo = [study for study in todo if not self._take(study, query, attempt)]
        except _StopAsked:
            stopped = "asked to stop"
        except ReserveReached as fault:
            stopped = str(fault)
        except PeerUnreachable as fault:
            if not self._at.instances:
                raise
            stopped = str(fault)
        at = self._at
        return FetchReport(
            at.studies,
            at.fetched,
            at.already_here,
            at.without,
            at.failed,
            at.instances,
            self._moved,
            self._got,
            tuple(refused),
            time.monotonic() - started,
            stopped,
        )

    def _list(self, query: FetchQuery, refused: list[date]) -> list[FoundStudy]:
        """Return the studies that are not here yet, oldest day first."""
        found: dict[str, FoundStudy] = {}
        days = list(query.days)
        for number, day in enumerate(days):
            self._say(days=len(days), days_listed=number, studies=len(found))
            try:
                found |= {study.uid: study for study in self._day(query, day)}
            except QueryRefused:
                refused.append(day)
        here = {
            uid
            for uid, study in found.items()
            if self.log.has_study(study.uid, query.selection, study.instances)
        }
        self._say(
            phase=Phase.FETCHING,
            days_listed=len(days),
            studies=len(found),
            already_here=len(here),
        )
        return [study for uid, study in found.items() if uid not in here]

    def _day(self, query: FetchQuery, day: date) -> list[FoundStudy]:
        found: list[FoundStudy] = []
        for modality in sorted(query.modalities) or [""]:
            self._heed_stop()
            found += self._steadily(partial(self._matches, day, modality))
        return found

    def _matches(self, day: date, modality: str) -> list[FoundStudy]:
        """Ask for a day at once, and for its hours where the PACS finds a day too much."""
        try:
            return self.pacs.studies(day, modality)
        except QueryRefused as refusal:
            if not refusal.too_many:
                raise
        hours = [f"{hour:02}0000-{hour:02}5959.999999" for hour in range(24)]
        return [study for times in hours for study in self.pacs.studies(day, modality, times)]

    def _take(self, study: FoundStudy, query: FetchQuery, attempt: int) -> bool:
        """Fetch one study in its turn; say whether it is here now."""
        self._await_turn()
        self._began, began = self.now(), time.monotonic()
        end = self._steadily(partial(self._fetch, study, query))
        self._working_seconds += time.monotonic() - began
        if end is not End.FAILED:
            self.log.note_study(study.uid, query.selection, study.instances)
        at = self._at
        self._say(
            fetched=at.fetched + (end is End.FETCHED),
            without=at.without + (end is End.WITHOUT),
            failed=at.failed - (attempt > 0) + (end is End.FAILED),
        )
        self._say(seconds_left=self._estimate())
        return end is not End.FAILED

    def _fetch(self, study: FoundStudy, query: FetchQuery) -> End:
        try:
            wanted = [found for found in self.pacs.series(study) if query.wants(found.modality)]
        except QueryRefused:
            return End.FAILED
        whole = [self._series(series) for series in wanted]  # each is tried, whatever came before
        if not whole:
            return End.WITHOUT
        return End.FETCHED if all(whole) else End.FAILED

    def _series(self, series: FoundSeries) -> bool:
        self._heed_stop()
        if self.log.has_series(series.uid, series.instances):
            return True
        self._require_room()
        outcome = self._retrieve(series)
        self._say(instances=self._at.instances + outcome.completed)
        whole = outcome.whole(series.instances)
        if whole:
            self.log.note_series(series.uid, series.instances)
        self._failures = 0 if outcome.completed else self._failures + (not whole)
        if self._failures >= FAILURES_IN_A_ROW:
            raise NothingComes(self.pacs.peer, self.config.intake)
        return whole

    def _retrieve(self, series: FoundSeries) -> Outcome:
        """Move, or get; AUTO learns from the first series which way works."""
        if self.method is not Method.GET:
            outcome = self.pacs.move(series)
            if not (self.method is Method.AUTO and outcome.came_to_nothing):
                self._moved += 1
                return outcome
        outcome = self.getter.get(series)
        if self.method is Method.AUTO and outcome.completed and not self._moved:
            self.method = Method.GET
        self._got += 1
        return outcome

    def _require_room(self) -> None:
        """Ask for nothing that there is no room for: what comes by C-MOVE comes to the receiver."""
        if free_bytes(self.config.data) < self.config.disk.reserve_bytes:
            raise ReserveReached("the disk is down to its reserve: free some, or add more")

    def _steadily(self, act: Callable[[], T]) -> T:
        """Do it again when the PACS goes away in the middle; give up when it stays away."""
        for pause in PAUSES_SECONDS:
            try:
                done = act()
            except AssociationLost:
                self.pacs.hang_up()
                self.getter.hang_up()
            except NothingComes:
                raise
            except PeerUnreachable:
                if not self._was_there:  # a wrong address or a refusal does not mend by itself
                    raise
            else:
                self._was_there = True
                return done
            self._wait(pause)
        return act()

    def _await_turn(self) -> None:
        while (seconds := self.pace.seconds_to_wait(self.now(), self._began)) > 0:
            if seconds > PAUSES_SECONDS[-1]:  # a PACS need not hold an idle association
                self.pacs.hang_up()
                self.getter.hang_up()
            self._wait(min(seconds, 60.0))
        self._heed_stop()
        self._say(phase=Phase.FETCHING)

    def _wait(self, seconds: float) -> None:
        self._say(phase=Phase.WAITING)
        (self.stop or threading.Event()).wait(seconds)
        self._heed_stop()

    def _heed_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise _StopAsked

    def _estimate(self) -> float:
        at = self._at
        tried = at.fetched + at.without + at.failed
        left = at.studies - at.already_here - tried
        return self.pace.seconds_left(left, self._working_seconds / max(1, tried))

    def _say(self, **changes: object) -> None:
        self._at = replace(self._at, **changes)  # type: ignore[arg-type]  # checked by the tests
        self.progress(self._at)
