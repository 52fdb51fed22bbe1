"""`radfed gateway looks`: which products looked at which locked test sets, and who signs for it."""

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, print_json, report_table


def add_to(gateway: typer.Typer) -> None:
    gateway.command("looks")(door(looks))


def looks(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show every look at a locked test set, and the public key that signs its statistics.

    Example: radfed gateway looks
    """
    from gateway.app.looks import looks_taken

    document = looks_taken(load_as_owner(config))
    if as_json:
        print_json(document)
        return
    typer.echo(f"report key  {document['report_key']}")
    report_table(
        document["looks"],
        ("test_set", "product", "bundle", "at"),
        as_json=False,
        empty="no product has looked at a locked test set",
    )
