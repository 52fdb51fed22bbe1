"""What the demo says: one line and a time for each step, and tables of what was measured."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH = 140


def make_console() -> Console:
    """Write as wide as the terminal; into a file or a pipe, wide enough for every table."""
    width = None if sys.stdout.isatty() else WIDTH
    return Console(highlight=False, soft_wrap=True, width=width)


@dataclass(slots=True)
class Step:
    """A step that is under way; `says` becomes its line."""

    title: str
    says: str = ""


@dataclass(slots=True)
class Screen:
    """Prints, and remembers the same facts for `--json` and for tests."""

    quiet: bool = False
    began: float = field(default_factory=time.monotonic)
    facts: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _console: Console = field(default_factory=make_console)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time a step, and print its line when it is done."""
        step, started = Step(title), time.monotonic()
        yield step
        took = time.monotonic() - started
        self.seconds[title] = round(took, 2)
        line = Text(f"{time.monotonic() - self.began:6.1f} s  ", style="dim")
        line.append(f"{title:<12}", style="bold").append(step.says)
        self._print(line.append(f"  ({took:.1f} s)", style="dim"))

    def note(self, text: str) -> None:
        self._print(Text(" " * 10 + text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        if not self.quiet:
            self._console.print(Padding(table, (0, 0, 0, 10), expand=False))

    def keep(self, name: str, value: object) -> None:
        """Remember a measured fact."""
        self.facts[name] = value

    def document(self) -> Mapping[str, object]:
        total = round(time.monotonic() - self.began, 2)
        return {"seconds": self.seconds | {"total": total}} | self.facts

    def _print(self, text: Text) -> None:
        if not self.quiet:
            self._console.print(text)
