"""The coordinator's commands; `radfed` gathers them from the installed entry points."""

import typer

from coordinator.cli import authority as authority_commands
from coordinator.cli import jobs, node, queries, sites


def _app(name: str, sentence: str) -> typer.Typer:
    return typer.Typer(
        name=name, help=sentence, no_args_is_help=True, pretty_exceptions_enable=False
    )


coordinator = _app("coordinator", "The federation's one centre: hospitals dial in, and it asks.")
authority = _app("authority", "The federation's offline root, on a machine without a network.")
site = _app("site", "The hospitals of the federation.")
query = _app("query", "Questions to the federation.")
job = _app("job", "Vendors' jobs: training and evaluation.")
vendor = _app("vendor", "What a vendor needs to sign a bundle.")

node.add_to(coordinator)
authority_commands.add_to(authority)
sites.add_to(site)
queries.add_to(query)
jobs.add_to(job)
jobs.add_vendor_to(vendor)


def main() -> None:
    """Run `python -m coordinator`: the coordinator's own commands, and those of its clients."""
    root = _app("coordinator", "The federation's one centre: hospitals dial in, and it asks.")
    node.add_to(root)
    for group in (authority, site, query, job, vendor):
        root.add_typer(group)
    root(prog_name="python -m coordinator")
