"""How a job stands at each hospital, in words: what `radfed job watch` shows as it changes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import typer

PLACES = ("site", "standing", "since")
ENDED_WITH_A_CODE = frozenset({"withheld", "failed", "refused"})
REDRAWN_A_SECOND = 2


class Screen(Protocol):
    """Where standings are shown."""

    def __call__(self, document: Mapping[str, Any]) -> None: ...


def standings(document: Mapping[str, Any], now: datetime) -> list[dict[str, str]]:
    """Say of each hospital how the job stands there: its newest word, and for how long."""
    newest = {part["site"]: part for part in document["rounds"]}  # in the order of rounds
    return [
        {
            "site": site["site"],
            "standing": _standing(site, newest.get(site["site"]), document["rounds_planned"]),
            "since": _ago(newest.get(site["site"], {}).get("since"), now),
        }
        for site in document["sites"]
    ]


def _standing(site: Mapping[str, Any], part: Mapping[str, Any] | None, planned: int) -> str:
    if site["decision"] == "unspecified":
        return "awaiting approval"
    if site["decision"] != "approved" or part is None:
        return _with(site["decision"], site["rule"])
    state = "queued" if part["state"] == "unspecified" else part["state"]
    measures = part["round"] > planned
    which = "the final model" if measures else f"round {part['round']} of {planned}"
    return f"{_with(state, part['code'])}, {which}"


def _with(word: str, code: str) -> str:
    return f"{word} ({code})" if code else str(word)


def _ago(since: str | None, now: datetime) -> str:
    if since is None:
        return ""
    seconds = max(0, round((now - datetime.fromisoformat(since)).total_seconds()))
    minutes, left = divmod(seconds, 60)
    return f"{minutes} min {left} s" if minutes else f"{left} s"


@contextmanager
def screen(*, live: bool) -> Iterator[Screen]:
    """Yield what shows a document: a table that follows on a terminal, else a line per change."""
    if not live:
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=REDRAWN_A_SECOND, transient=True) as drawn:
        yield lambda document: drawn.update(_table(document))


class _Lines:
    """One line on stderr for each hospital whose standing has changed."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def __call__(self, document: Mapping[str, Any]) -> None:
        self._tell("job", f"{document['stage']}, round {document['round']}")
        for row in standings(document, datetime.now(UTC)):
            self._tell(row["site"], row["standing"])

    def _tell(self, who: str, standing: str) -> None:
        if self._told.get(who) != standing:
            typer.echo(f"{who}: {standing}", err=True)
            self._told[who] = standing


def _table(document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - rich is imported when it is drawn
    from rich.table import Table
    from rich.text import Text

    title = f"{document['job_id']}: {document['stage']}, round {document['round']}"
    table = Table(*PLACES, box=None, pad_edge=False, title=title)
    for row in standings(document, datetime.now(UTC)):
        table.add_row(*(Text(row[place]) for place in PLACES))
    return table
