"""`python -m tests.bench NAME`: measure this product beside its peers, on this machine."""

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench.registry import BENCHES, Terms
from tests.bench.rows import as_documents, show

NAMES = ", ".join(f"{name} ({bench.about})" for name, bench in BENCHES.items())


def bench(
    name: Annotated[str, typer.Argument(help=f"One of: {NAMES}.")],
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One small round, within 45 s.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, interleaved.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this subject. Repeatable.")] = None,
    cases: Annotated[
        list[str] | None, typer.Option(help="Only cases whose name contains this. Repeatable.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all rows here.")] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Where sets and stores go for the time of the run.")
    ] = None,
) -> None:
    """Start the peers, push, weigh, stop them, and print medians, ratios and goals."""
    if name not in BENCHES:
        raise typer.BadParameter(f"there is no bench {name!r}; there are: {', '.join(BENCHES)}")
    # Whoever ends a bench gets what was measured, and no peer is left running.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="radfed-bench-", dir=directory) as scratch:
        terms = Terms(
            quick=quick,
            rounds=1 if quick else rounds,
            only=frozenset(only or ()),
            cases=tuple(cases or ()),
            directory=Path(scratch),
            say=notes.print,
        )
        rows = BENCHES[name].run(terms)
    width = None if sys.stdout.isatty() else 160
    show(rows, Console(width=width, highlight=False))
    if json_file is not None:
        json_file.write_text(json.dumps(as_documents(rows), indent=1), "utf-8")


if __name__ == "__main__":
    typer.run(bench)
