"""Answers as they are shown: as they come, as one table, as one document."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from coordinator.cli.cures import cure
from coordinator.federation.document import document as paper
from coordinator.federation.document import state_of

if TYPE_CHECKING:
    from protos.v1.federation_pb2 import Estimate, Summary, Total
    from protos.v1.question_pb2 import Answer, Question

SHOWN_CELLS = 40
SHOWN_SITES = 20  # columns, beyond which only the total is drawn
SHOWN_ABSENT = 20


class Watch(Protocol):
    def __call__(self, answers: "Mapping[str, Answer]", newest: str, asked: int) -> None: ...


@contextmanager
def watching(*, as_json: bool) -> Iterator[Watch]:
    """Yield what is told of each answer: a live table on a terminal, else a line each."""
    if as_json:
        yield lambda _answers, _newest, _asked: None
        return
    if not sys.stderr.isatty():
        yield lambda answers, newest, _asked: typer.echo(line(newest, answers[newest]), err=True)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(
        progress({}, 0), console=Console(stderr=True), transient=True, refresh_per_second=8
    ) as live:
        yield lambda answers, _newest, asked: live.update(progress(answers, asked))


def progress(answers: "Mapping[str, Answer]", asked: int) -> Any:  # noqa: ANN401 - rich is lazy
    """Return the live table: how many hospitals said what, and who refused."""
    from rich.table import Table
    from rich.text import Text

    states: dict[str, list[str]] = {}
    for site in sorted(answers):
        states.setdefault(state_of(answers[site].state), []).append(site)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("state", "hospitals", "who"):
        drawn.add_column(column, overflow="fold")
    for state, sites in sorted(states.items()):
        named = sites if state not in {"VALUE", "BELOW_THRESHOLD"} else sites[-3:]
        drawn.add_row(state, str(len(sites)), Text(", ".join(named[:SHOWN_ABSENT])))
    waiting = f"{asked - len(answers)} of {asked}" if asked else "all"
    drawn.add_row("waiting", waiting, "")
    return drawn


def document(
    question: "Question", answers: "Mapping[str, Answer]", total: "Total"
) -> dict[str, Any]:
    """Return all of it, and what to do about whoever is in no sum."""
    absences = [a for site in sorted(answers) if (a := _absence(site, answers[site]))]
    return paper(question, answers, total) | {"not_in_the_sum": absences}


def _absence(site: str, answer: "Answer") -> dict[str, str] | None:
    """Return why a hospital is in no sum, and what to do; None where it gave a figure."""
    state = state_of(answer.state)
    if state == "VALUE":
        return None
    if state == "BELOW_THRESHOLD":
        return {"site": site, "state": state, "rule": "", "cure": "every figure is too small"}
    return {"site": site, "state": state, "rule": answer.rule, "cure": cure(state, answer.rule)}


def draw(question: "Question", answers: "Mapping[str, Answer]", total: "Total") -> None:
    """Draw the total, one column for each hospital, and name whoever is not in it."""
    _draw_cells(question, answers, total)
    for summary in total.summaries:
        _draw_summary(question, summary)
    absences = [a for site in sorted(answers) if (a := _absence(site, answers[site]))]
    for absence in absences[:SHOWN_ABSENT]:
        rule = f" ({absence['rule']})" if absence["rule"] else ""
        cured = f": {absence['cure']}" if absence["cure"] else ""
        typer.echo(f"not in the sum: {absence['site']} {absence['state']}{rule}{cured}")
    if len(absences) > SHOWN_ABSENT:
        typer.echo(f"... and {len(absences) - SHOWN_ABSENT} more hospitals: --json names all")


def _draw_cells(question: "Question", answers: "Mapping[str, Answer]", total: "Total") -> None:
    from coordinator.cli.report import table

    sites = sorted(site for site in answers if answers[site].cells)
    sites = sites if len(sites) <= SHOWN_SITES else []
    figures = {
        (site, tuple(cell.values)): cell.count
        for site in sites
        for cell in answers[site].cells
        if cell.HasField("count")
    }
    rows = [
        dict(zip(question.group_by, cell.values, strict=False))
        | {site: figures.get((site, tuple(cell.values)), "-") for site in sites}
        | {"total": f"{cell.count} ± {cell.margin:.0f}", "hospitals": cell.sites}
        | {"hidden at": cell.hidden}
        for cell in total.cells
    ]
    columns = (*question.group_by, *sites, "total", "hospitals", "hidden at")
    table(rows[:SHOWN_CELLS], columns, empty="no hospital gave a figure")
    if len(rows) > SHOWN_CELLS:
        typer.echo(f"... and {len(rows) - SHOWN_CELLS} more rows: --json shows all")


def _draw_summary(question: "Question", summary: "Summary") -> None:
    others = [name for name in question.group_by if name != summary.field]
    whose = ", ".join(f"{n} {v}" for n, v in zip(others, summary.values, strict=False))
    parts = [f"mean {_between(summary.mean)}"]
    parts += [f"{each.share:.0%} below {_between(each.estimate)}" for each in summary.quantiles]
    hidden = f"; {summary.hidden} bins hidden by hospitals are not in it" if summary.hidden else ""
    typer.echo(f"{summary.field}{f' ({whose})' if whose else ''}: {', '.join(parts)}{hidden}")


def _between(estimate: "Estimate") -> str:
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def line(site: str, answer: "Answer") -> str:
    rule = f" ({answer.rule})" if answer.rule else ""
    return f"{site}: {state_of(answer.state)}{rule}"
