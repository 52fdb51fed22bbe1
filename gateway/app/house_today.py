"""Today, as the console shows it: arrivals, backlog, disk, link, certificates."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from gateway.app.build import build_book
from gateway.app.status import status_of
from gateway.config import GatewayConfig
from gateway.desk.rules import JobStage
from gateway.store.index import Index

HOURS = 24
HOUR = 3600
DAY = 86400.0
# By the index on (grade, changed_at): a series of today is found without a scan of all.
SINCE = """
    WITH looked (grade) AS (VALUES (NULL), ('A'), ('B'), ('C'), ('D')),
    recent AS (
        SELECT series_uid, modality, manufacturer, model, changed_at
        FROM looked JOIN series ON series.grade IS looked.grade AND changed_at >= ?
    )
"""
ARRIVED = f"""
    {SINCE}
    SELECT modality, manufacturer, model, count(DISTINCT series_uid) AS series,
           count(*) AS instances
    FROM recent JOIN instance USING (series_uid)
    GROUP BY modality, manufacturer, model ORDER BY instances DESC LIMIT 100
"""  # noqa: S608 - constants
BY_HOUR = f"""
    {SINCE}
    SELECT CAST(changed_at / 3600 AS INTEGER) AS hour, count(*) AS series
    FROM recent GROUP BY hour
"""  # noqa: S608 - constants


class Board:
    def __init__(self, config: GatewayConfig, index: Index) -> None:
        self._config = config
        self._index = index

    def look(self) -> dict[str, Any]:
        status = status_of(self._config)
        now = time.time()
        return {
            "at": now,
            "stored": status["stored"],
            "received": status["received"],
            "backlog": status["arrivals"] + status["vault"]["incoming"],
            "quarantined": status["vault"]["quarantined"],
            "waiting": self._waiting(),
            "link": {"says": "", "coordinator": "", "last_heard": ""} | status["link"],
            "ledger_bytes": status["ledger_bytes"],
            "disk": status["disk"] | {"total_bytes": shutil.disk_usage(self._config.data).total},
            "certificates": list(self._certificates(status["link"])),
            "arrived": [dict(row) for row in self._index.read(ARRIVED, (_midnight(now),))],
            "hours": self._hours(now),
        }

    def _waiting(self) -> int:
        with closing(build_book(self._config)) as book:
            return len(book.jobs_at(JobStage.WAITING))

    def _hours(self, now: float) -> list[tuple[int, int]]:
        newest = int(now // HOUR)
        oldest = newest - HOURS + 1
        found = {row["hour"]: row["series"] for row in self._index.read(BY_HOUR, (oldest * HOUR,))}
        return [(hour * HOUR, found.get(hour, 0)) for hour in range(oldest, newest + 1)]

    def _certificates(self, link: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if until := link.get("certificate_expires"):
            yield _certificate("link", datetime.fromisoformat(until))
        tls, console = self._config.intake.tls, self._config.console
        files = {
            "DICOM": tls.certificate if tls else None,
            "console": console.certificate if console else None,
        }
        for what, file in files.items():
            if file is not None and (ends := _ends(file)) is not None:
                yield _certificate(what, ends)


def _certificate(what: str, until: datetime) -> dict[str, Any]:
    left = (until - datetime.now(UTC)).total_seconds()
    return {"what": what, "until": until.isoformat(), "days": int(left // DAY)}


def _ends(file: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError, IndexError):
        return None


def _midnight(now: float) -> float:
    here = datetime.fromtimestamp(now).astimezone()
    return here.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
