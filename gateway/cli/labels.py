"""`radfed gateway labels`: reference standards in, and the hospital's own look at them."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    door,
    print_json,
    progress_line,
    report,
    report_table,
)
from gateway.errors import ExitCode

COUNTS = ("positive", "negative", "other")
COLUMNS = ("label", "cases", *COUNTS, "readers", "adjudicated", "disputed", "without_images")
READER_COLUMNS = ("reader", "cases", *COUNTS, "adjudicated", "from_objects", "as_it_stands")


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="Reference standards for jobs.", no_args_is_help=True)
    for verb, command in (("import", import_), ("ls", ls), ("show", show)):
        group.command(verb)(door(command))
    gateway.add_typer(group, name="labels")


def import_(
    file: Annotated[Path, typer.Argument(help="CSV: an original identifier, label, value.")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Take the good lines and name the others; exit 8.")
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Take labels by original identifiers, translate them under the site's keys, forget those.

    Columns: SeriesInstanceUID, StudyInstanceUID, AccessionNumber or PatientID (with
    IssuerOfPatientID); label, value; optionally reader and adjudicated (yes or no).
    Several readers may speak on one case: an adjudicated word stands, else POSITIVE does.

    Example: radfed gateway labels import labels.csv
    """
    from gateway.app.labelling import import_labels

    settings = load_as_owner(config, reads=file)
    with progress_line("looking up accession numbers", enabled=not as_json) as progress:
        found = import_labels(settings, file, progress, skip_bad=skip_bad)
    report(found, as_json=as_json)
    if found["refused_lines"] or found["unknown_accession_lines"]:
        raise typer.Exit(int(ExitCode.PARTIAL))


def ls(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List labels with exact counts, for the hospital's own eyes: the federation gets noisy ones.

    Example: radfed gateway labels ls
    """
    from gateway.app.labelling import labels

    rows = labels(load_as_owner(config))
    report_table(rows, COLUMNS, as_json=as_json, empty="no label was imported or arrived yet")


def show(
    name: Annotated[str, typer.Argument(help="A label, as `ls` shows it.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show one label: how often readers spoke, and how often their word is the one that stands.

    Example: radfed gateway labels show lesion
    """
    from gateway.app.labelling import label

    found = label(load_as_owner(config), name)
    if as_json:
        print_json(found)
        return
    readers = found.pop("by_reader")
    report(found, as_json=False)
    report_table(readers, READER_COLUMNS, as_json=False, empty="nobody")
