"""The coordinator's commands; `radfed` gathers them from the installed entry points."""

import typer

from coordinator.cli import authority as authority_commands
from coordinator.cli import (
    care,
    console,
    jobs,
    keys,
    node,
    projects,
    queries,
    reports,
    review,
    sites,
)


def _app(name: str, sentence: str) -> typer.Typer:
    return typer.Typer(
        name=name, help=sentence, no_args_is_help=True, pretty_exceptions_enable=False
    )


coordinator = _app("coordinator", "The federation's one centre: hospitals dial in, and it asks.")
authority = _app("authority", "The federation's offline root, on a machine without a network.")
site = _app("site", "The hospitals of the federation.")
query = _app("query", "Questions to the federation.")
job = _app("job", "Vendors' jobs: training and evaluation.")
project = _app("project", "For what work is done.")
requester = _app("requester", "What a requester needs to sign a question.")
reviewer = _app("reviewer", "What a reviewer needs to approve a job.")
vendor = _app("vendor", "What a vendor needs to sign a bundle.")

node.add_to(coordinator)
care.add_to(coordinator)
console.add_to(coordinator)
authority_commands.add_to(authority)
sites.add_to(site)
queries.add_to(query)
projects.add_to(project)
jobs.add_to(job)
review.add_to(job)
reports.add_to(job)
keys.add_keygen(vendor, "vendor", "bundles")
keys.add_keygen(requester, "requester", "questions")
keys.add_keygen(reviewer, "reviewer", "approvals")


def main() -> None:
    """Run `python -m coordinator`: the coordinator's own commands, and those of its clients."""
    root = _app("coordinator", "The federation's one centre: hospitals dial in, and it asks.")
    node.add_to(root)
    care.add_to(root)
    console.add_to(root)
    for group in (authority, site, query, job, project, requester, reviewer, vendor):
        root.add_typer(group)
    root(prog_name="python -m coordinator")
