"""How commands speak: options they share, one document on stdout, one sentence for a failure."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from gateway.app.saying import as_document, as_lines, plain
from gateway.errors import ExitCode, GatewayError

P = ParamSpec("P")
R = TypeVar("R")

ConfigPath = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="RADFED_GATEWAY", help="The gateway's settings.", show_default=True
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Who = Annotated[str, typer.Option("--by", help="Who decides; on the audit trail.", envvar="USER")]
DEFAULT_CONFIG = Path("gateway.toml")
WIDE = 2000
WRONG_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def door(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a GatewayError into one sentence on stderr and its exit code: never a traceback."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except GatewayError as fault:
            fail(str(fault), fault.exit_code, as_json=bool(kwargs.get("as_json")))
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except PermissionError as fault:
            where = fault.filename or "a file"
            sentence = f"{where} may not be used by this account: run as the gateway's own user"
            fail(sentence, ExitCode.ENVIRONMENT, as_json=bool(kwargs.get("as_json")))
        except OSError as fault:
            where = f"{fault.filename}: " if fault.filename else ""
            cure = (
                "check the path" if isinstance(fault, WRONG_PATH) else "check disk and permissions"
            )
            sentence = f"{where}{fault.strerror or type(fault).__name__}: {cure}"
            fail(sentence, ExitCode.ENVIRONMENT, as_json=bool(kwargs.get("as_json")))

    return guarded


def require_terminal(option: str) -> None:
    """Refuse to ask where nobody could answer; the option answers instead."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("is needed where nobody can be asked", param_hint=option)


def fail(sentence: str, code: ExitCode, *, as_json: bool) -> NoReturn:
    """End the command with one sentence."""
    if as_json:
        print_json({"error": sentence, "exit_code": int(code)})
    typer.echo(f"radfed: {sentence}", err=True)
    raise typer.Exit(int(code))


def print_json(document: object) -> None:
    typer.echo(as_document(document))


def report(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one mapping: as JSON, or as aligned lines."""
    if as_json:
        print_json(document)
        return
    for line in as_lines(document):
        typer.echo(line)


def report_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str
) -> None:
    """Print rows: as a JSON list, or as a table of the named columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = list(rows)
    if as_json:
        print_json(listed)
        return
    if not listed:
        typer.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in listed:
        table.add_row(*(Text(plain(row.get(column, ""))) for column in columns))
    # Into a file or a pipe each row is one line: a digest in pieces is no digest.
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


@contextmanager
def progress_line(what: str, *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield `advance(done, total)`; it draws on stderr where a person watches, else nothing."""
    if not (enabled and sys.stderr.isatty()):
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
