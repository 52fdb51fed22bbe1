"""Plots of tests of boxes and of masks: a FROC curve, and distributions over fixed bins."""

import math
from collections.abc import Sequence
from html import escape

from coordinator.evaluation.drawing import Say, plain, svg
from coordinator.evaluation.froc import FrocPoint
from coordinator.evaluation.overlap import Distribution
from protos.overlap import DICE_EDGES, HD95_EDGES
from protos.scores import FALSE_MARKS

WIDTH, HEIGHT, MARGIN = 360, 300, 42
FEWEST, MOST = FALSE_MARKS[0], FALSE_MARKS[-1]


def froc_plot(points: Sequence[FrocPoint], say: Say = plain) -> str:
    """Draw sensitivity over false marks a patient, in doublings, with its 95 % band."""
    drawn = sorted(
        (point for point in points if FEWEST <= point.false_marks <= MOST),
        key=lambda point: (point.false_marks, point.sensitivity),
    )
    band = [*((p.false_marks, p.high) for p in drawn)]
    band += [(p.false_marks, p.low) for p in reversed(drawn)]
    shape = " ".join(_at(across, up) for across, up in band)
    line = " ".join(_at(p.false_marks, p.sensitivity) for p in drawn)
    body = f'<polygon class="box" points="{shape}"/><polyline class="line" points="{line}"/>'
    ticks = "".join(_tick_across(at) for at in FALSE_MARKS) + "".join(
        _tick_up(_y(share), f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1)
    )
    names = _names(say("false marks a patient"), say("sensitivity of findings"))
    return svg(
        WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN, ticks + body + names,
        say("FROC curve of all hospitals together, with its 95 % band"),
    )  # fmt: skip


def dice_plot(found: Distribution | None, say: Say = plain) -> str:
    return _bars(found, [0.0, *DICE_EDGES], ("Dice", say("patients by Dice")), say)


def hd95_plot(found: Distribution | None, say: Say = plain) -> str:
    return _bars(found, [0.0, *HD95_EDGES], (say("HD95 in mm"), say("patients by HD95")), say)


def _bars(
    found: Distribution | None, lows: Sequence[float], words: tuple[str, str], say: Say
) -> str:
    if found is None:
        return ""
    most, wide = max(found.counts), WIDTH / len(found.counts)
    bars = "".join(
        f'<rect class="mark" x="{MARGIN + at * wide + 1:.1f}" y="{_y(count / most)}" '
        f'width="{wide - 2:.1f}" height="{count / most * HEIGHT:.1f}">'
        f"<title>{say('from %(low)s: %(count)s patients', low=f'{low:g}', count=count)}</title>"
        "</rect>"
        for at, (low, count) in enumerate(zip(lows, found.counts, strict=True))
    )
    every = max(1, len(lows) // 5)
    ticks = "".join(
        f'<text x="{MARGIN + at * wide:.1f}" y="{_y(0) + 16}" text-anchor="middle">{low:g}</text>'
        for at, low in enumerate(lows)
        if at % every == 0
    )
    ticks += _tick_up(_y(0), "0") + _tick_up(_y(1), str(most))
    across, title = words
    names = _names(across, say("patients"))
    return svg(WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN, ticks + bars + names, title)


def _tick_across(value: float) -> str:
    return (
        f'<line class="grid" x1="{_x(value)}" x2="{_x(value)}" y1="{_y(0)}" y2="{_y(1)}"/>'
        f'<text x="{_x(value)}" y="{_y(0) + 16}" text-anchor="middle">{value:g}</text>'
    )


def _tick_up(y: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{MARGIN}" x2="{MARGIN + WIDTH}" y1="{y}" y2="{y}"/>'
        f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _names(across: str, up: str) -> str:
    middle = MARGIN / 2 + HEIGHT / 2
    across, up = escape(across), escape(up)
    return (
        f'<text x="{MARGIN + WIDTH / 2}" y="{_y(0) + 34}" text-anchor="middle">{across}</text>'
        f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">{up}</text>'
    )


def _x(false_marks: float) -> float:
    reach = math.log2(false_marks / FEWEST) / math.log2(MOST / FEWEST)
    return round(MARGIN + reach * WIDTH, 1)


def _y(share: float) -> float:
    return round(MARGIN / 2 + (1 - share) * HEIGHT, 1)


def _at(false_marks: float, share: float) -> str:
    return f"{_x(false_marks)},{_y(share)}"
