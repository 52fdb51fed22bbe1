"""How a job stands, as text in a reader's language: what a page draws, and what follows it live."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from babel.dates import format_datetime

from coordinator.console.codes import in_words
from coordinator.console.job_shown import RoundLine, SiteRow, Standing
from coordinator.training.progress import AUC
from protos.pages.languages import Language

PIECE = 16_000  # characters: what is shown in one piece is never cut
STATES = ("released", "running", "queued", "withheld", "failed", "refused", "approved",
          "rejected", "undecided")  # fmt: skip
ENDS = ("released", "withheld", "failed", "refused")
UNDER_WAY = ("queued", "running")
NO_BOUND = "no leakage bound"


def row_of(number: int, row: SiteRow, language: Language) -> Mapping[str, Any]:
    """Return a hospital's line as text: the page draws it, and what follows it live."""
    point = row.point
    since = point.since if point else None
    bits = point.bits if point and point.state == "released" else None
    return {
        "number": number,
        "site": row.site,
        "decision": _stood(row.decision, row.rule, language),
        "state": _stood(point.state, point.code, language) if point else "–",
        "auc": "–" if point is None or point.auc is None else f"{point.auc:.3f}",
        # Whole numbers are written alike in both languages, and here are hundreds of them.
        "weight": f"{point.weight:,.0f}" if point and point.weight else "–",
        "bits": _bits(bits, language),
        "since": _moment(str(language.locale), int(since)) if since else "–",
    }


@lru_cache(maxsize=8192)
def _moment(locale: str, second: int) -> str:
    """Say when, in this house's own time; a page asks for hundreds of moments again and again."""
    here = datetime.fromtimestamp(second, UTC).astimezone()
    return str(format_datetime(here, "medium", locale=locale))


def _stood(word: str, code: str, language: Language) -> str:
    said = language.text(word)
    return f"{said}: {code_in_words(code, language)}" if code else said


def _bits(bits: float | None, language: Language) -> str:
    if bits is None:
        return "–"
    return language.text(NO_BOUND) if bits < 0 else f"{bits:,.0f}"


def now_in_text(standing: Standing, language: Language, measure: str) -> str:
    cells = ("decision", "state", "auc", "weight", "bits", "since")
    rows = [row_of(number, one, language) for number, one in enumerate(standing.sites)]
    figures = [one.point.measure(measure) if one.point else None for one in standing.sites]
    return json.dumps(
        {
            "stage": language.text(standing.line.stage),
            "round": standing.line.round,
            "number": standing.round.number if standing.round else 0,
            "states": states_of(standing, language),
            "newest": [[one.number, cells_of(one, language)] for one in standing.newest],
            "pooled": [
                [one.number, one.pooled.auc, one.pooled.low, one.pooled.high]
                for one in standing.newest
                if one.pooled and measure == AUC
            ],
            "rows": [[row[cell] for cell in cells] for row in rows],
            "figures": [None if one is None else round(one, 4) for one in figures],
        },
        separators=(",", ":"),
    )


def cells_of(line: RoundLine, language: Language) -> list[str]:
    """Return a round's line as text: how it ended at how many hospitals, its figure, and why."""
    figure = "–"
    if (pooled := line.pooled) is not None and pooled.auc is not None:
        figure = f"{pooled.auc:.3f}"
        if pooled.low is not None and pooled.high is not None:
            figure += f" ({pooled.low:.3f} – {pooled.high:.3f})"
    counts = [line.states.get(state, 0) for state in ENDS]
    counts.append(sum(line.states.get(state, 0) for state in UNDER_WAY))
    why = "; ".join(
        f"{language.number(count)} × {code_in_words(code, language)}"
        for (_state, code), count in line.codes.items()
    )
    return [*map(language.number, counts), figure, why or "–"]


def states_of(standing: Standing, language: Language) -> str:
    """Say how many hospitals are in which state: nobody goes missing."""
    return " · ".join(
        f"{language.text(state)} {language.number(standing.states[state])}"
        for state in STATES
        if standing.states.get(state)
    )


def code_in_words(code: str, language: Language) -> str:
    """Say a closed word in the reader's language, with the name it is about beside it."""
    sentence, subject = in_words(code)
    if not sentence:
        return code
    said = language.text(sentence)
    return f"{said} ({subject})" if subject else said


def pieces(text: str) -> Iterator[str]:
    """Cut a long text at its lines: `inert` shortens what is longer than a piece."""
    held = ""
    for line in text.splitlines(keepends=True):
        if len(held) + len(line) > PIECE and held:
            yield held
            held = ""
        held += line
        while len(held) > PIECE:
            yield held[:PIECE]
            held = held[PIECE:]
    if held:
        yield held
