"""Plots as inline SVG, drawn here: no script, no font and no request of the page's own."""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from coordinator.evaluation.calibration import Point
from coordinator.evaluation.curves import RocPoint
from coordinator.evaluation.pool import Auc

SIDE, MARGIN = 320, 42
ROW = 22
NAMES, PLOT = 190, 300  # widths of the forest plot's columns

Say = Callable[..., str]  # a sentence of these plots and its values, in the reader's language


def plain(sentence: str, **values: object) -> str:
    """Say it as it stands here, in English."""
    return sentence % values if values else sentence


def roc_plot(curves: Sequence[Sequence[RocPoint]], say: Say = plain) -> str:
    """Draw one product's curve, or a second one, dashed, over the first."""
    body = "".join(
        f'<polyline class="line{" second" if number else ""}" points="'
        + " ".join(_at(p.false_positive_rate, p.sensitivity) for p in points)
        + '"/>'
        for number, points in enumerate(curves)
    )
    title = say("ROC curve of all hospitals together")
    return square(body, say("1 - specificity"), say("sensitivity"), title)


def calibration_plot(points: Sequence[Point], say: Say = plain) -> str:
    largest = max((point.cases for point in points), default=1)
    marks = "".join(
        f'<circle class="mark" cx="{_x(p.predicted)}" cy="{_y(p.observed)}" '
        f'r="{3 + 5 * (p.cases / largest) ** 0.5:.1f}"><title>{escape(_group(p, say))}</title>'
        "</circle>"
        for p in points
    )
    line = " ".join(_at(point.predicted, point.observed) for point in points)
    body = f'<polyline class="line thin" points="{line}"/>{marks}'
    title = say("calibration: circles by number of patients")
    return square(body, say("predicted"), say("observed"), title)


def forest_plot(
    rows: Sequence[tuple[str, Auc | None]], say: Say = plain, measure: str = "AUC"
) -> str:
    """Draw one line for each hospital and for what combines them; the axis is cut to the data."""
    drawn = [auc for _, auc in rows if auc is not None]
    low = min((auc.low for auc in drawn), default=0.5)
    start = max(0.0, min(0.5, int(low * 10) / 10))
    height = ROW * (len(rows) + 2)

    def at(value: float) -> float:
        return round(NAMES + (value - start) / (1 - start) * PLOT, 1)

    parts = [
        _forest_row(number, name, auc, (at(auc.low), at(auc.value), at(auc.high)))
        if auc
        else _forest_gap(number, name, say("no figure"))
        for number, (name, auc) in enumerate(rows)
    ]
    ticks = [start + (1 - start) * step / 4 for step in range(5)]
    axis = "".join(
        f'<line class="grid" x1="{at(t)}" x2="{at(t)}" y1="6" y2="{height - ROW}"/>'
        f'<text x="{at(t)}" y="{height - 6}" text-anchor="middle">{t:.2f}</text>'
        for t in ticks
    )
    width = NAMES + PLOT + 170
    title = say(f"{measure} by hospital, with 95 % intervals")
    return svg(width, height, axis + "".join(parts), title)


def flow_diagram(boxes: Iterable[tuple[str, Sequence[str]]], say: Say = plain) -> str:
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
    title = say("who was asked, and what became of them")
    return svg(720, top, "".join(parts[:-1]), title)


def _group(point: Point, say: Say) -> str:
    return say(
        "%(cases)s patients: predicted %(predicted)s, observed %(observed)s",
        cases=point.cases,
        predicted=f"{point.predicted:.3f}",
        observed=f"{point.observed:.3f}",
    )


def _forest_gap(number: int, name: str, word: str) -> str:
    y = ROW * number + 20
    return (
        f'<text x="0" y="{y}">{escape(name)}</text>'
        f'<text x="{NAMES}" y="{y}" class="dim">{escape(word)}</text>'
    )


def _forest_row(number: int, name: str, auc: Auc, at: tuple[float, float, float]) -> str:
    y = ROW * number + 16
    low, middle, high = at
    said = f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})"
    return (
        f'<text x="0" y="{y + 4}">{escape(name)}</text>'
        f'<line class="line" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
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
        f'<text x="{_x(0.5)}" y="{_y(0) + 34}" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(11 {_y(0.5)}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
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
