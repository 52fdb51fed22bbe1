"""Commands about de-identification: deid explain, try, rerun and import-table; conformance."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    Who,
    door,
    print_json,
    progress_line,
    report,
    report_table,
)
from gateway.config import load
from gateway.errors import ConfigurationFault, ExitCode

TABLES_FOLDER = "deid-tables"
EXPLAINED = ("tag", "keyword", "action", "rule", "why")


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="De-identification.", no_args_is_help=True)
    for verb, command in (
        ("explain", explain),
        ("try", try_files),
        ("rerun", rerun),
        ("import-table", import_table),
    ):
        group.command(verb)(door(command))
    gateway.add_typer(group, name="deid")
    gateway.command()(door(conformance))


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


def try_files(
    source: Annotated[Path, typer.Argument(help="A directory, a ZIP or a file of DICOM.")],
    out: Annotated[
        Path, typer.Option("--report", help="Where the report goes: one HTML file, yours alone.")
    ],
    config: ConfigPath = DEFAULT_CONFIG,
    profile: Annotated[
        str | None, typer.Option(help="A profile's name or TOML file; else the settings' own.")
    ] = None,
    values: Annotated[
        bool, typer.Option(help="Show originals beside what becomes of them.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Say what a profile would do to real files, and store nothing.

    The report shows headers and pictures before and after, what was risky, what would wait in
    quarantine and why, and a summary to sign. It shows patients unless --no-values is given.

    Example: radfed gateway deid try /mnt/sample --profile research-strict --report out.html
    """
    from gateway.app.deidentifying import try_out

    with progress_line("trying", enabled=not as_json) as advance:
        document = try_out(
            load_as_owner(config, reads=source), source, profile, out, advance, values=values
        )
    if not as_json:
        document.pop("tried")
    report(document, as_json=as_json)


def rerun(
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is stored under which profile.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring what is stored to the settings' profile, where that is the stricter one.

    A profile that keeps more is refused with 7, and the `fetch` that brings the rest is named. What
    is cut short goes on when the command is repeated.

    Example: radfed gateway deid rerun
    """
    from gateway.app.rerunning import rerun_store

    with progress_line("renewing", enabled=not as_json) as advance:
        document = rerun_store(load_as_owner(config), by, advance, only_look=dry_run)
    report(document, as_json=as_json)
    left = document["fetch"] or document["undated"] or document["damaged"]
    if left or document.get("refused"):
        raise typer.Exit(int(ExitCode.PARTIAL))


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


def conformance(
    config: ConfigPath = DEFAULT_CONFIG,
    out: Annotated[
        Path | None, typer.Option(help="A .md or .html file; without it, Markdown is printed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the DICOM conformance statement's tables, from those the code goes by.

    Where the settings are there, the site's own profile and SOP classes are in it.

    Example: radfed gateway conformance --out conformance.html
    """
    from gateway.app.conformance import as_html, as_markdown, statement
    from gateway.durable import replace_durably

    sections = statement(load_as_owner(config) if config.exists() else None)
    if as_json:
        print_json([section.document() for section in sections])
    elif out is None:
        typer.echo(as_markdown(sections))
    elif out.suffix in (".html", ".md"):
        text = as_html(sections) if out.suffix == ".html" else as_markdown(sections)
        replace_durably(out, text.encode())
        report({"conformance": str(out)}, as_json=False)
    else:
        raise ConfigurationFault("--out is a file that ends in .md or .html")
