"""Numbers and tables of the report's page; every word in a table is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from coordinator.evaluation.intervals import Share


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns) if any(columns) else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def share(found: Share | None) -> str:
    if found is None:
        return "none"
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f}), {found.count} of {found.of}"


def number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
