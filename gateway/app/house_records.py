"""Budget, policy and trail for the console, each read from its own file."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit
from gateway.app.steward import check_policy, policy_document
from gateway.cohort.privacy import PrivacyLedger
from gateway.config import GatewayConfig
from gateway.policy import load_policy

PAGE = 50
STRETCH = 50_000
LATELY = timedelta(days=30)
NANO = 10**9
EVENTS = """
    SELECT number, body FROM trail WHERE number < ?1 AND number >= ?2
    AND (?3 = '' OR json_extract(body, '$.event') = ?3) ORDER BY number DESC LIMIT ?4
"""
NEWEST_EVENT = "SELECT coalesce(max(number), 0) FROM trail"
BY_MONTH = """
    SELECT substr(at, 1, 7) AS month, sum(nano_rho), count(*) FROM spent WHERE year = ?
    GROUP BY month ORDER BY month
"""
SINCE = "SELECT coalesce(sum(nano_rho), 0) FROM spent WHERE year = ? AND at >= ?"


def budget_of(config: GatewayConfig, now: datetime | None = None) -> dict[str, Any]:
    """Return what was spent this year, by whom, what is left, and until when it lasts."""
    now = now or datetime.now(UTC)
    questions = load_policy(config.policy_file).questions
    file = config.data / "privacy.db"
    with closing(PrivacyLedger.open(file, b"")) as ledger:  # it is read: no noise is drawn
        spent = float(ledger.spent(now.year))
        people = ledger.spenders(now.year)
    with _reading(file) as connection:
        months = connection.execute(BY_MONTH, (now.year,)).fetchall()
        since = (now - LATELY).isoformat()
        (lately,) = connection.execute(SINCE, (now.year, since)).fetchone()
    total = questions.rho_per_year
    return {
        "year": now.year,
        "total": total,
        "spent": spent,
        "left": max(total - spent, 0.0),
        "share": total * questions.requester_share,
        "sigma": questions.sigma,
        "each": 1 / (2 * questions.sigma**2),
        "people": [
            {"name": name, "rho": float(rho), "answers": answers}
            for name, (rho, answers) in sorted(people.items(), key=lambda one: -one[1][0])
        ],
        "months": [{"month": m, "rho": nano / NANO, "answers": n} for m, nano, n in months],
        "lately": lately / NANO,
        "ends": _forecast(now, max(total - spent, 0.0), lately / NANO),
    }


def _forecast(now: datetime, left: float, lately: float) -> datetime | None:
    """Return when the budget ends if the last 30 days go on; None where it outlasts the year."""
    if lately <= 0:
        return None
    ends = now + LATELY * min(left / lately, 1000)
    return ends if ends.year == now.year else None


def policy_of(config: GatewayConfig) -> dict[str, Any]:
    document = policy_document(config)
    return {
        "document": document,
        "check": check_policy(config),
        "text": config.policy_file.read_text("utf-8"),
        "file": str(config.policy_file),
    }


def audit_page(config: GatewayConfig, before: int, event: str) -> dict[str, Any]:
    """Return events below a number, the newest first."""
    build_audit(config).close()  # it is there, with its table
    with _reading(config.audit_file) as connection:
        (newest,) = connection.execute(NEWEST_EVENT).fetchone()
        top = min(before, newest + 1) if before else newest + 1
        bottom = max(top - STRETCH, 1)
        found = connection.execute(EVENTS, (top, bottom, event, PAGE)).fetchall()
    rows = [{"number": number} | json.loads(body) for number, body in found]
    last = rows[-1]["number"] if len(rows) == PAGE else bottom
    return {"rows": rows, "last": last if last > 1 else 0, "newest": newest}


def _reading(file: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30))
