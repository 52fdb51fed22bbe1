"""What the hospital console shows and does: each page's facts from its own file, one house."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property

import structlog

from gateway.app.approving import approve, reject
from gateway.app.build import build_audit, build_secret, build_store, build_vault, echo_peer
from gateway.app.house_jobs import Inbox
from gateway.app.house_ledger import LedgerBoard
from gateway.app.house_quarantine import QuarantineShelf
from gateway.app.house_records import audit_page, budget_of, policy_of
from gateway.app.house_sources import sources_of
from gateway.app.house_studies import StudiesFloor
from gateway.app.house_today import Board
from gateway.app.lately import Lately
from gateway.app.picture_room import PictureRoom
from gateway.app.steward import drop_entry, release_entry, verify_audit
from gateway.config import GatewayConfig
from gateway.console.house import Row, StudyFilter
from gateway.store.index import Index
from gateway.vault.vault import NoSuchEntry

log = structlog.get_logger()

ECHO_SECONDS = 10.0


class House:
    """Builds what a page needs when it is first asked, and keeps it."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._deciding = threading.Lock()

    @cached_property
    def _index(self) -> Index:
        return Index.open(self._config.index_file)

    @cached_property
    def _floor(self) -> StudiesFloor:
        store = build_store(self._config, build_secret(self._config))
        return StudiesFloor(self._config, self._index, store, PictureRoom(self._config))

    @cached_property
    def _shelf(self) -> QuarantineShelf:
        vault = build_vault(self._config, build_secret(self._config))
        return QuarantineShelf(vault, self._config.vault.keep_days)

    @cached_property
    def _ledger(self) -> LedgerBoard:
        return LedgerBoard(self._config)

    @cached_property
    def _inbox(self) -> Inbox:
        return Inbox(self._config)

    @cached_property
    def _board(self) -> Lately[Row]:
        # A connection of its own: what takes long keeps no page waiting.
        return Lately(Board(self._config, Index.open(self._config.index_file)).look)

    @cached_property
    def _totals(self) -> Lately[Sequence[Row]]:
        return Lately(self._ledger.totals)

    def today(self) -> Row:
        return self._board()

    def studies(self, wanted: StudyFilter, after: str) -> Row:
        return self._floor.find(wanted, after)

    def study(self, uid: str) -> Row | None:
        return self._floor.study(uid)

    def series(self, uid: str, number: int) -> Row | None:
        return self._floor.series(uid, number)

    def picture(self, series: str, number: int, *, small: bool) -> bytes | None:
        return self._floor.picture(series, number, small=small)

    def quarantine(self, reason: str, sender: str, after: str) -> Row:
        return self._shelf.page(reason, sender, after)

    def quarantined(self, entry: str) -> Row:
        return self._shelf.show(entry)

    def release(self, entry: str, by: str) -> None:
        with self._deciding:
            release_entry(self._config, entry, by)
            self._shelf.forget(entry)

    def drop(self, entry: str, by: str) -> None:
        with self._deciding:
            drop_entry(self._config, entry, by)
            self._shelf.forget(entry)

    def decide_many(self, reason: str, sender: str, by: str, *, release: bool) -> Row:
        chosen, left = self._shelf.chosen(reason, sender)
        done = 0
        for entry in chosen:
            with suppress(NoSuchEntry):  # decided about by somebody else meanwhile
                (self.release if release else self.drop)(entry, by)
                done += 1
        return {"done": done, "left": left, "released": release}

    def jobs(self) -> Sequence[Row]:
        return self._inbox.everything()

    def job(self, job_id: str) -> Row:
        return self._inbox.show(job_id)

    def approve(self, job_id: str, by: str) -> str:
        with self._deciding:
            return str(approve(self._config, job_id, by)["stage"])

    def approve_always(self, job_id: str, by: str) -> str:
        with self._deciding:
            return self._inbox.approve_always(job_id, by)

    def reject(self, job_id: str, by: str, reason: str) -> None:
        with self._deciding:
            reject(self._config, job_id, by, reason)

    def sent(self, before: int, kind: str) -> Row:
        return self._ledger.page(before, kind)

    def sent_entry(self, number: int) -> Row:
        return self._ledger.entry(number)

    def sent_totals(self) -> Sequence[Row]:
        return self._totals()

    def export_sent(self) -> Iterator[Row]:
        return self._ledger.export()

    def verify_sent(self) -> Row:
        return self._ledger.verify()

    def budget(self) -> Row:
        return budget_of(self._config)

    def policy(self) -> Row:
        return policy_of(self._config)

    def audit(self, before: int, event: str) -> Row:
        return audit_page(self._config, before, event)

    def verify_audit(self) -> Row:
        return verify_audit(self._config)

    def sources(self) -> Sequence[Row]:
        return sources_of(self._config)

    def echo(self, name: str, by: str) -> Row:
        self.record("peer_echoed", peer=name, by=by)
        return echo_peer(self._config, name, ECHO_SECONDS)

    def record(self, event: str, **facts: str | float | bool | None) -> None:
        with closing(build_audit(self._config)) as audit:
            audit.record(event, **facts)

    def warm(self) -> None:
        """Find out what takes long before somebody asks."""
        try:
            self.today()
            self.sent_totals()
        except Exception as fault:  # noqa: BLE001 - the page that asks will say it
            log.error("warming_failed", fault=type(fault).__name__)  # noqa: TRY400 - no values in a log
