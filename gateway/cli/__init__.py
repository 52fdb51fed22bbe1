"""The gateway's commands, and `radfed`, which gathers those of every house that is installed."""

from importlib.metadata import entry_points

import typer

from gateway.cli import care, fetching, node, steward

gateway = typer.Typer(
    name="gateway",
    help="One hospital's gateway: takes studies from the PACS, keeps them, and lets no image out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
node.add_to(gateway)
fetching.add_to(gateway)
care.add_to(gateway)
steward.add_to(gateway)


def radfed() -> None:
    """Run `radfed`: one command from the commands every installed house has registered."""
    root = typer.Typer(
        name="radfed",
        help="A federation of hospitals: the images stay, the questions travel.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for entry in sorted(entry_points(group="radfed.commands"), key=lambda entry: entry.name):
        root.add_typer(entry.load(), name=entry.name)
    root(prog_name="radfed")
