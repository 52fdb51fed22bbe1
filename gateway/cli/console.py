"""Commands of the hospital console's accounts: for whoever runs the server."""

from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    Who,
    door,
    report,
    report_table,
)


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="Who may use the hospital console.", no_args_is_help=True)
    for verb, command in (("invite", invite), ("ls", ls), ("remove", remove)):
        group.command(verb)(door(command))
    gateway.add_typer(group, name="console")


def invite(
    config: ConfigPath = DEFAULT_CONFIG,
    reader: Annotated[bool, typer.Option("--reader", help="To look, not to decide.")] = False,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Make a link that makes one account, once, within a day: with password and code.

    Example: radfed gateway console invite --reader
    """
    from gateway.app.accounts import invite_person

    report(invite_person(load_as_owner(config), by, decides=not reader), as_json=as_json)


def ls(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the accounts and their roles.

    Example: radfed gateway console ls
    """
    from gateway.app.accounts import accounts_of

    rows = accounts_of(load_as_owner(config))
    report_table(rows, ("name", "role", "since"), as_json=as_json, empty="there is no account yet")


def remove(
    name: Annotated[str, typer.Argument(help="The account's name, as `ls` shows it.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Remove an account; its sessions end with the next thing they ask.

    Example: radfed gateway console remove li
    """
    from gateway.app.accounts import remove_account

    report(remove_account(load_as_owner(config), name, by), as_json=as_json)
