"""How commands speak: options they share, one document on stdout, one sentence for a failure."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from coordinator.errors import ConfigurationFault, CoordinatorError, ExitCode

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

P = ParamSpec("P")
R = TypeVar("R")

ConfigPath = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="RADFED_COORDINATOR", help="The coordinator's settings."),
]
As = Annotated[
    Path | None,
    typer.Option(
        "--as", envvar="RADFED_CREDENTIAL", help="The directory that says who you are.",
        show_default="operator, where there is one",
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DEFAULT_CONFIG = Path("coordinator.toml")
DEFAULT_CREDENTIAL = Path("operator")
WIDE = 2000
WRONG_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def credential_dir(given: Path | None) -> Path:
    """Return whose credential to use; a sentence where nobody was named."""
    directory = given or DEFAULT_CREDENTIAL
    if not (directory / "credential.toml").exists():
        raise ConfigurationFault(
            f"{directory} holds no credential: name its directory with --as or RADFED_CREDENTIAL"
        )
    return directory


def door(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a CoordinatorError into one sentence on stderr and its exit code."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CoordinatorError as fault:
            fail(str(fault), fault.exit_code, as_json=bool(kwargs.get("as_json")))
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except OSError as fault:
            where = f"{fault.filename}: " if fault.filename else ""
            cure = (
                "check the path" if isinstance(fault, WRONG_PATH) else "check disk and permissions"
            )
            sentence = f"{where}{fault.strerror or type(fault).__name__}: {cure}"
            fail(sentence, ExitCode.ENVIRONMENT, as_json=bool(kwargs.get("as_json")))

    return guarded


def fail(sentence: str, code: ExitCode, *, as_json: bool) -> NoReturn:
    """End the command with one sentence."""
    if as_json:
        print_json({"error": sentence, "exit_code": int(code)})
    typer.echo(f"radfed: {sentence}", err=True)
    raise typer.Exit(int(code))


def print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def report(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one mapping: as JSON, or as aligned lines."""
    if as_json:
        print_json(document)
        return
    width = max((len(key) for key in document), default=0)
    for key, value in document.items():
        typer.echo(f"{key.replace('_', ' '):<{width}}  {plain(value)}")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Print rows as a table of the named columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = list(rows)
    if not listed:
        typer.echo(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.replace("_", " "), overflow="fold")
    for row in listed:
        drawn.add_row(*(Text(plain(row.get(column, ""))) for column in columns))
    # Into a file or a pipe each row is one line: an identifier in pieces is none.
    Console(width=None if sys.stdout.isatty() else WIDE).print(drawn)


def listing(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str
) -> None:
    """Print rows: as a JSON list, or as a table."""
    if as_json:
        print_json(list(rows))
    else:
        table(rows, columns, empty=empty)


def plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def moment(stamp: "Timestamp") -> str:
    """Return a time to the second, UTC."""
    return stamp.ToDatetime().isoformat(timespec="seconds") + "Z"
