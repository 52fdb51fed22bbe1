"""`radfed gateway sums`: this hospital's key for secure sums, whom it pinned, its sums."""

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, print_json, report_table

COLUMNS = ("job_id", "round", "stage", "rule", "hospitals", "survivors", "roster")


def add_to(gateway: typer.Typer) -> None:
    gateway.command("sums")(door(sums))


def sums(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the key that other hospitals pin for secure sums, and the sums this one was in.

    Example: radfed gateway sums
    """
    from gateway.app.sums import sums_taken

    document = sums_taken(load_as_owner(config))
    if as_json:
        print_json(document)
        return
    typer.echo(f"sum key    {document['sum_key']}")
    typer.echo(f"pinned     {', '.join(document['pinned']) or 'no other hospital'}")
    report_table(
        document["sums"], COLUMNS, as_json=False, empty="this hospital was in no secure sum yet"
    )
