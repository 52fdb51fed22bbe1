"""What a bench measures: one row per figure, its ratio to a peer, and the goal it must meet."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one subject in one case; with a peer, also how it stands against that peer."""

    bench: str
    case: str
    subject: str
    measure: str
    unit: str
    median: float
    rounds: tuple[float, ...]  # the figure of each round, in order
    peer: str | None = None
    ratio: float | None = None  # the median over rounds of subject / peer
    goal: str | None = None
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit on a figure, or on its ratio to a peer."""

    case: str
    subject: str
    measure: str
    at_most: float | None = None
    at_least: float | None = None
    peer: str | None = None

    @property
    def text(self) -> str:
        if self.at_most is not None and self.at_least is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        sign, limit = (">=", self.at_least) if self.at_most is None else ("<=", self.at_most)
        return f"{sign} {limit:g}" + (f" x {self.peer}" if self.peer else "")

    def met_by(self, figure: float) -> bool:
        return (self.at_most is None or figure <= self.at_most) and (
            self.at_least is None or figure >= self.at_least
        )


Key = tuple[str, str, str, str]  # case, subject, measure, unit


class Figures:
    """Gathers figures round by round and turns them into rows."""

    def __init__(self, bench: str) -> None:
        self._bench = bench
        self._rounds: dict[Key, list[float]] = {}

    def add(self, case: str, subject: str, measure: str, unit: str, figure: float) -> None:
        self._rounds.setdefault((case, subject, measure, unit), []).append(figure)

    def rows(self, ours: Iterable[str] = (), goals: Sequence[Goal] = ()) -> list[Row]:
        """Return every figure, then each of `ours` against every peer of its case, then goals."""
        plain = [
            Row(self._bench, case, subject, measure, unit, median(found), tuple(found))
            for (case, subject, measure, unit), found in self._rounds.items()
        ]
        at = {(row.case, row.subject, row.measure): row for row in plain}
        wanted = {(g.case, g.subject, g.measure, g.peer): g for g in goals}
        paired = [
            _against(row, peer, wanted.get((row.case, row.subject, row.measure, peer.subject)))
            for row in plain
            if row.subject in set(ours)
            for peer in plain
            if (peer.case, peer.measure) == (row.case, row.measure) and peer.subject != row.subject
        ]
        alone = [
            _judged(at[goal.case, goal.subject, goal.measure], goal)
            for goal in goals
            if goal.peer is None and (goal.case, goal.subject, goal.measure) in at
        ]
        return plain + paired + alone


def _against(row: Row, peer: Row, goal: Goal | None) -> Row:
    pairs = [a / b for a, b in zip(row.rounds, peer.rounds, strict=False) if b]
    ratio = median(pairs) if pairs else None
    facts = asdict(row) | {"peer": peer.subject, "ratio": ratio}
    if goal is not None and ratio is not None:
        facts |= {"goal": goal.text, "met": goal.met_by(ratio)}
    return Row(**facts)


def _judged(row: Row, goal: Goal) -> Row:
    return Row(**asdict(row) | {"goal": goal.text, "met": goal.met_by(row.median)})


def as_documents(rows: Iterable[Row]) -> list[Mapping[str, Any]]:
    return [asdict(row) | {"rounds": list(row.rounds)} for row in rows]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print medians with one column per subject, then what the goals say."""
    _show_medians([row for row in rows if row.peer is None and row.goal is None], console)
    _show_goals([row for row in rows if row.goal is not None], console)


def _show_medians(rows: Sequence[Row], console: Console) -> None:
    subjects = list(dict.fromkeys(row.subject for row in rows))
    table = Table(box=None, pad_edge=False, header_style="bold", title="medians")
    for column in ("case", "measure"):
        table.add_column(column)
    for subject in subjects:
        table.add_column(subject, justify="right")
    by_line: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        by_line.setdefault((row.case, f"{row.measure} [{row.unit}]".replace("[", "\\[")), {})[
            row.subject
        ] = row.median
    previous = ""
    for (case, measure), found in by_line.items():
        cells = [number(found[s]) if s in found else "" for s in subjects]
        table.add_row("" if case == previous else case, measure, *cells)
        previous = case
    console.print(table)


def _show_goals(rows: Sequence[Row], console: Console) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", title="goals")
    for column in ("case", "subject", "measure", "figure", "peer", "ratio", "goal", "met"):
        table.add_column(column)
    for row in rows:
        ratio = "" if row.ratio is None else number(row.ratio)
        verdict = "[green]yes" if row.met else "[red]no"
        figure = f"{number(row.median)} {row.unit}"
        cells = (row.case, row.subject, row.measure, figure, row.peer or "", ratio)
        table.add_row(*cells, row.goal, verdict)
    console.print(table)


def number(value: float) -> str:
    """Write three significant digits, and whole numbers whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


Say = Callable[[str], None]
