"""The gateway's commands, and `radfed`, which gathers those of every house that is installed."""

import os
import sys
from importlib.metadata import entry_points

import typer

from gateway.app.running import begin_anew
from gateway.cli import (
    approvals,
    backup,
    care,
    console,
    deid,
    doctor,
    fetching,
    labels,
    looks,
    node,
    privacy,
    steward,
    sums,
    way_back,
)

gateway = typer.Typer(
    name="gateway",
    help="One hospital's gateway: takes studies from the PACS, keeps them, and lets no image out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@gateway.callback()
def privately() -> None:
    """Make what a command makes readable by its owner alone."""
    os.umask(0o077)


node.add_to(gateway)
fetching.add_to(gateway)
care.add_to(gateway)
approvals.add_to(gateway)
steward.add_to(gateway)
privacy.add_to(gateway)
labels.add_to(gateway)
console.add_to(gateway)
looks.add_to(gateway)
sums.add_to(gateway)
deid.add_to(gateway)
way_back.add_to(gateway)
backup.add_to(gateway)
doctor.add_to(gateway)


def radfed() -> None:
    """Run `radfed`: one command from the commands every installed house has registered."""
    if sys.argv[1:2] == ["gateway"]:
        begin_anew(sys.argv[2:])
    root = typer.Typer(
        name="radfed",
        help="A federation of hospitals: the images stay, the questions travel.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    commands = {entry.name: entry for entry in entry_points(group="radfed.commands")}
    wanted = next((word for word in sys.argv[1:2] if word in commands), None)
    for name in [wanted] if wanted else sorted(commands):  # load no more than is typed
        root.add_typer(commands[name].load(), name=name)
    root(prog_name="radfed")
