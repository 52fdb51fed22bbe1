"""The egress ledger for the console: turned page by page, and summed as it grows."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from threading import Lock
from typing import Any

from gateway.app.build import build_book
from gateway.app.steward import sent_entry, verify_ledger
from gateway.config import GatewayConfig
from gateway.desk.book import Book
from gateway.desk.offers import offer_of
from gateway.release.ledger import Ledger
from gateway.release.rules import Kind
from protos.v1 import question_pb2

PAGE = 50
STRETCH = 50_000  # entries looked through for a kind; then the page goes on from there
ALL_KINDS = tuple(str(kind) for kind in Kind)
OWN = frozenset({"link", "enrolment"})  # references that are no work of anybody's
ROWS = """
    SELECT number, at, kind, reference, rule, approved_by, size, lower(hex(digest)) AS sha256
    FROM entry WHERE number < ?1 AND number >= ?2 AND (?3 = '' OR kind = ?3)
    ORDER BY number DESC LIMIT ?4
"""
FORWARD = """
    SELECT number, at, kind, reference, rule, approved_by, size, lower(hex(digest)) AS sha256
    FROM entry WHERE number > ? ORDER BY number LIMIT 1000
"""
NEWEST = "SELECT coalesce(max(number), 0) FROM entry"
SUMS = """
    SELECT substr(at, 1, 7), kind, reference, count(*), sum(size) FROM entry
    WHERE number > ? AND number <= ? GROUP BY 1, 2, 3
"""
QUESTION = "SELECT body FROM question WHERE question_id = ?"


class LedgerBoard:
    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._lock = Lock()
        self._summing = Lock()
        self._summed = 0
        self._sums: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._projects: dict[str, str] = {}

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        Ledger.open(self._config.ledger_file).close()  # it is there, with its tables
        connection = sqlite3.connect(
            f"file:{self._config.ledger_file}?mode=ro",
            uri=True,
            timeout=30,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        return connection

    def page(self, before: int, kind: str) -> dict[str, Any]:
        """Return entries below a number, the newest first."""
        newest = self._newest()
        top = min(before, newest + 1) if before else newest + 1
        bottom = max(top - STRETCH, 1)
        rows = [dict(row) for row in self._read(ROWS, (top, bottom, kind, PAGE))]
        last = rows[-1]["number"] if len(rows) == PAGE else bottom
        return {
            "rows": rows,
            "last": last if last > 1 else 0,
            "newest": newest,
            "kinds": ALL_KINDS,
            "bytes": sum(size for _count, size in self._sums.values()),
        }

    def entry(self, number: int) -> dict[str, Any]:
        return sent_entry(self._config, number)

    def verify(self) -> dict[str, Any]:
        return verify_ledger(self._config)

    def export(self) -> Iterator[dict[str, Any]]:
        after = 0
        while rows := self._read(FORWARD, (after,)):
            yield from (dict(row) for row in rows)
            after = rows[-1]["number"]

    def totals(self) -> list[dict[str, Any]]:
        """Return what left by month, project and kind; only what is new is read."""
        with self._summing:  # two who ask at once would add the same entries twice
            sums, newest = self._sums.copy(), self._newest()
            found = self._read(SUMS, (self._summed, newest))
            with closing(build_book(self._config)) as book:
                for month, kind, reference, count, size in found:
                    key = (month, self._project(book, kind, reference), kind)
                    messages, total = sums.get(key, (0, 0))
                    sums[key] = (messages + count, total + size)
            self._sums, self._summed = sums, newest
        return [
            {"month": month, "project": project, "kind": kind, "messages": count, "bytes": size}
            for (month, project, kind), (count, size) in sorted(sums.items(), reverse=True)
        ]

    def _project(self, book: Book, kind: str, reference: str) -> str:
        """Return the project an entry was for; empty for the gateway's own messages."""
        if reference in OWN or kind == Kind.FETCH:
            return ""
        if reference not in self._projects:
            self._projects[reference] = self._asked_by(book, reference)
        return self._projects[reference]

    def _asked_by(self, book: Book, reference: str) -> str:
        task = book.task(reference)
        job = book.job(task.job_id if task else reference)
        if job is not None:
            return offer_of(job).terms.project
        with closing(sqlite3.connect(self._config.desk_dir / "desk.db", timeout=30)) as desk:
            row = desk.execute(QUESTION, (reference,)).fetchone()
        return "" if row is None else question_pb2.Question.FromString(row[0]).project

    def _newest(self) -> int:
        return int(self._read(NEWEST)[0][0])

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()
