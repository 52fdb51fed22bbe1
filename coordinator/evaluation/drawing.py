"""Plots as inline SVG, drawn here: no script, no font and no request of the page's own."""

from collections.abc import Iterable, Sequence
from html import escape

from coordinator.evaluation.calibration import Point
from coordinator.evaluation.curves import RocPoint
from coordinator.evaluation.pool import Auc

SIDE, MARGIN = 320, 42
ROW = 22
NAMES, PLOT = 190, 300  # widths of the forest plot's columns


def roc_plot(points: Sequence[RocPoint]) -> str:
    line = " ".join(_at(p.false_positive_rate, p.sensitivity) for p in points)
    body = f'<polyline class="line" points="{line}"/>'
    return square(body, "1 - specificity", "sensitivity", "ROC curve of all hospitals together")


def calibration_plot(points: Sequence[Point]) -> str:
    largest = max((point.cases for point in points), default=1)
    marks = "".join(
        f'<circle class="mark" cx="{_x(p.predicted)}" cy="{_y(p.observed)}" '
        f'r="{3 + 5 * (p.cases / largest) ** 0.5:.1f}"><title>{p.cases} patients: predicted '
        f"{p.predicted:.3f}, observed {p.observed:.3f}</title></circle>"
        for p in points
    )
    line = " ".join(_at(point.predicted, point.observed) for point in points)
    body = f'<polyline class="line thin" points="{line}"/>{marks}'
    return square(body, "predicted", "observed", "calibration: circles by number of patients")


def forest_plot(rows: Sequence[tuple[str, Auc | None]], measure: str = "AUC") -> str:
    """Draw one line for each hospital and for what combines them; the axis is cut to the data."""
    drawn = [auc for _, auc in rows if auc is not None]
    low = min((auc.low for auc in drawn), default=0.5)
    start = max(0.0, min(0.5, int(low * 10) / 10))
    height = ROW * (len(rows) + 2)

    def at(value: float) -> float:
        return round(NAMES + (value - start) / (1 - start) * PLOT, 1)

    parts = [
        _forest_row(number, name, auc, (at(auc.low), at(auc.value), at(auc.high)) if auc else None)
        for number, (name, auc) in enumerate(rows)
    ]
    ticks = [start + (1 - start) * step / 4 for step in range(5)]
    axis = "".join(
        f'<line class="grid" x1="{at(t)}" x2="{at(t)}" y1="6" y2="{height - ROW}"/>'
        f'<text x="{at(t)}" y="{height - 6}" text-anchor="middle">{t:.2f}</text>'
        for t in ticks
    )
    width = NAMES + PLOT + 170
    return svg(width, height, axis + "".join(parts), f"{measure} by hospital, with 95 % intervals")


def flow_diagram(boxes: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Draw boxes below each other, each with who left on the way to the next at its side."""
    parts, top = [], 6
    for text, beside in boxes:
        height = max(34, 16 * len(beside) + 12)
        parts.append(
            f'<rect class="box" x="6" y="{top}" width="250" height="34"/>'
            f'<text x="131" y="{top + 22}" text-anchor="middle">{escape(text)}</text>'
        )
        parts += [
            f'<text x="276" y="{top + 16 + 16 * number}">{escape(one)}</text>'
            for number, one in enumerate(beside)
        ]
        parts.append(
            f'<line class="arrow" x1="131" x2="131" y1="{top + 34}" y2="{top + height + 16}"/>'
        )
        top += height + 16
    return svg(720, top, "".join(parts[:-1]), "who was asked, and what became of them")


def _forest_row(
    number: int, name: str, auc: Auc | None, at: tuple[float, float, float] | None
) -> str:
    y = ROW * number + 16
    label = f'<text x="0" y="{y + 4}">{escape(name)}</text>'
    if auc is None or at is None:
        return label + f'<text x="{NAMES}" y="{y + 4}" class="dim">no figure</text>'
    low, middle, high = at
    said = f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})"
    return (
        label + f'<line class="line" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        f'<rect class="mark" x="{middle - 4}" y="{y - 4}" width="8" height="8"/>'
        f'<text x="{NAMES + PLOT + 12}" y="{y + 4}">{said}</text>'
    )


def square(body: str, across: str, up: str, title: str) -> str:
    ticks = "".join(
        f'<line class="grid" x1="{_x(t)}" x2="{_x(t)}" y1="{_y(0)}" y2="{_y(1)}"/>'
        f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(t)}" y2="{_y(t)}"/>'
        f'<text x="{_x(t)}" y="{_y(0) + 16}" text-anchor="middle">{t:g}</text>'
        f'<text x="{_x(0) - 6}" y="{_y(t) + 4}" text-anchor="end">{t:g}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    diagonal = f'<line class="chance" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    names = (
        f'<text x="{_x(0.5)}" y="{_y(0) + 34}" text-anchor="middle">{across}</text>'
        f'<text transform="translate(11 {_y(0.5)}) rotate(-90)" text-anchor="middle">{up}</text>'
    )
    side = SIDE + 2 * MARGIN
    return svg(side, side, ticks + diagonal + names + body, title)


def svg(width: float, height: float, body: str, title: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _x(value: float) -> float:
    return round(MARGIN + value * SIDE, 1)


def _y(value: float) -> float:
    return round(MARGIN / 2 + (1 - value) * SIDE, 1)


def _at(x: float, y: float) -> str:
    return f"{_x(x)},{_y(y)}"
