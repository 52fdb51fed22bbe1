"""Commands about de-identification: deid explain, try, rerun and import-table; conformance."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, report, report_table
from gateway.config import load

TABLES_FOLDER = "deid-tables"
EXPLAINED = ("tag", "keyword", "action", "rule", "why")


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="De-identification.", no_args_is_help=True)
    for verb, command in (("explain", explain), ("import-table", import_table)):
        group.command(verb)(door(command))
    gateway.add_typer(group, name="deid")


def explain(
    file: Annotated[Path, typer.Argument(help="A DICOM file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say for every element what happens to it, by which rule, and why. Prints no values.

    Example: radfed gateway deid explain image.dcm
    """
    from gateway.app.deidentifying import explain_file

    rows = explain_file(load_as_owner(config, reads=file), file)
    report_table(rows, EXPLAINED, as_json=as_json, empty="the file has no elements")


def import_table(
    file: Annotated[Path, typer.Argument(help="PS3.15 in DocBook, NEMA's part15.xml.")],
    config: ConfigPath = DEFAULT_CONFIG,
    into: Annotated[
        Path | None, typer.Option(help="Where to keep them; `deid-tables` beside the settings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take Tables E.1-1 and E.3.10-1 from a newer PS3.15; the settings then name their files.

    Example: radfed gateway deid import-table part15.xml
    """
    from gateway.app.deidentifying import import_table as take

    folder = into or config.resolve().parent / TABLES_FOLDER
    document = take(load(config), file, folder)
    report(document, as_json=as_json)
    if not as_json:
        lines = [f'{key} = "{path}"' for key, path in document["settings"].items()]
        typer.echo("\nTo use them, put this into the settings and start the gateway anew:")
        typer.echo("\n".join(["[deid]", *lines]))
