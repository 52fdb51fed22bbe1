"""Commands of the federation console's accounts: for whoever runs the server."""

import getpass
from typing import Annotated

import typer

from coordinator.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, listing, report
from protos.identity import Role


def add_to(coordinator: typer.Typer) -> None:
    group = typer.Typer(help="Who may use the federation's pages.", no_args_is_help=True)
    for verb, command in (("invite", invite), ("ls", ls), ("remove", remove)):
        group.command(verb)(door(command))
    coordinator.add_typer(group, name="console")


def invite(
    name: Annotated[str, typer.Argument(help="Whom it is for: the trail will have this name.")],
    role: Annotated[
        str, typer.Option(help="operator, requester, reviewer, vendor or auditor.")
    ] = Role.OPERATOR,
    organisation: Annotated[
        str, typer.Option(help="Whose person it is: a vendor or requester sees its work alone.")
    ] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a link that makes one account, once, within a day: with password and code.

    Example: radfed coordinator console invite bo --role reviewer
    """
    from coordinator.app.accounts import invite_person
    from coordinator.config import load

    by = f"{getpass.getuser()} on this server"
    report(invite_person(load(config), role, name, organisation, by), as_json=as_json)


def ls(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the accounts and their roles.

    Example: radfed coordinator console ls
    """
    from coordinator.app.accounts import accounts_of
    from coordinator.config import load

    columns = ("name", "role", "organisation", "since")
    rows = accounts_of(load(config))
    listing(rows, columns, as_json=as_json, empty="there is no account yet")


def remove(
    name: Annotated[str, typer.Argument(help="The account's name, as `ls` shows it.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Remove an account; its sessions end with the next thing they ask.

    Example: radfed coordinator console remove bo
    """
    from coordinator.app.accounts import remove_account
    from coordinator.config import load

    by = f"{getpass.getuser()} on this server"
    report(remove_account(load(config), name, by), as_json=as_json)
