"""The command that fills the gateway with past years from the PACS: fetch."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, report
from gateway.errors import ExitCode
from gateway.intake.fetch_rules import FetchQuery, Hours, Method, Pace

if TYPE_CHECKING:
    from gateway.intake.fetch_terms import FetchProgress, Progress

LOG_SECONDS = 60.0


def add_to(gateway: typer.Typer) -> None:
    gateway.command()(door(fetch))


def fetch(
    peer: Annotated[str, typer.Option("--from", help="The PACS: a peer's name in the settings.")],
    date: Annotated[str, typer.Option(help="FIRST..LAST study date, or one day.")],
    config: ConfigPath = DEFAULT_CONFIG,
    modality: Annotated[
        list[str] | None, typer.Option(help="Only series of this modality. Repeatable.")
    ] = None,
    studies_per_hour: Annotated[
        float | None, typer.Option(min=0.01, help="The most the PACS shall be asked for.")
    ] = None,
    hours: Annotated[
        str | None, typer.Option(help="When it may be asked, such as 19:00-06:30, local time.")
    ] = None,
    method: Annotated[
        Method, typer.Option(help="C-MOVE to our AE title, C-GET, or whichever works.")
    ] = Method.AUTO,
    again: Annotated[
        bool,
        typer.Option("--again", help="What was fetched under another profile too, under this one."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch past studies from a PACS, each series once; the same command goes on after a stop.

    Example: radfed gateway fetch --from pacs --date 2019-01-01..2019-12-31 --modality CT
    """
    from gateway.app.fetching import fetch_from

    query = FetchQuery.parse(date, modality or [])
    pace = Pace(studies_per_hour, None if hours is None else Hours.parse(hours))
    with telling(drawn=sys.stderr.isatty() and not as_json) as progress:
        document = fetch_from(
            load_as_owner(config), peer, query, pace, method, progress, again=again
        )
    report(document, as_json=as_json)
    if not document["complete"]:
        raise typer.Exit(int(ExitCode.PARTIAL))


@contextmanager
def telling(*, drawn: bool) -> Iterator["Progress"]:
    """Yield a listener: a line that moves where a person watches, else a log event a minute."""
    if not drawn:
        yield _log_each_minute()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[rest]}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listing", total=None, rest="")

        def draw(at: "FetchProgress") -> None:
            done = at.fetched + at.already_here + at.without + at.failed
            listing = at.days_listed < at.days
            bar.update(
                task,
                description=f"{at.phase} {'days' if listing else 'studies'}",
                completed=at.days_listed if listing else done,
                total=at.days if listing else at.studies,
                rest=rest_of(at),
            )

        yield draw


def rest_of(at: "FetchProgress") -> str:
    """Return what the bar does not show: failures, and when it may be over."""
    failed = f"{at.failed} failed " if at.failed else ""
    if at.seconds_left is None:
        return failed
    return f"{failed}{timedelta(seconds=round(at.seconds_left))} left"


def _log_each_minute() -> "Progress":
    import structlog

    log = structlog.get_logger()
    said = time.monotonic()

    def tell(at: "FetchProgress") -> None:
        nonlocal said
        if time.monotonic() - said >= LOG_SECONDS:
            said = time.monotonic()
            counts = {"studies": at.studies, "fetched": at.fetched, "failed": at.failed}
            log.info("fetch_progress", phase=at.phase, **counts, seconds_left=at.seconds_left)

    return tell
