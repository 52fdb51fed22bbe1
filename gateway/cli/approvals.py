"""Commands on vendors' jobs: read, try, decide, and see what became of them."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, Who, door, report, report_table

APPROVAL_COLUMNS = ("job_id", "name", "kind", "vendor", "stage", "rounds")
JobId = Annotated[str, typer.Argument(help="The job's identifier.")]


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="Vendors' jobs that wait for your decision.", no_args_is_help=True)
    for verb, command in (
        ("ls", approvals_ls),
        ("show", approvals_show),
        ("try", approvals_try),
        ("approve", approvals_approve),
        ("reject", approvals_reject),
        ("log", approvals_log),
    ):
        group.command(verb)(door(command))
    gateway.add_typer(group, name="approvals")


def approvals_ls(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List jobs and what was decided about them.

    Example: radfed gateway approvals ls
    """
    from gateway.app.approving import approvals

    rows = approvals(load_as_owner(config))
    report_table(rows, APPROVAL_COLUMNS, as_json=as_json, empty="no job was offered")


def approvals_show(
    job: JobId,
    config: ConfigPath = DEFAULT_CONFIG,
    code: Annotated[bool, typer.Option("--code", help="Print the bundle's files too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a job: purpose, cohort, what would leave at which noise, its cost, and what changed.

    Example: radfed gateway approvals show JOB --code
    """
    from gateway.app.approving import approval

    report(approval(load_as_owner(config), job, with_code=code), as_json=as_json)


def approvals_approve(
    job: JobId,
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Approve exactly this bundle, by its digest.

    Example: radfed gateway approvals approve JOB --by li
    """
    from gateway.app.approving import approve

    report(approve(load_as_owner(config), job, by), as_json=as_json)


def approvals_reject(
    job: JobId,
    reason: Annotated[str, typer.Option(help="Stays in the hospital, on the audit trail.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Reject a job.

    Example: radfed gateway approvals reject JOB --reason "the purpose is not ours" --by li
    """
    from gateway.app.approving import reject

    report(reject(load_as_owner(config), job, by, reason), as_json=as_json)


def approvals_try(
    job: JobId, config: ConfigPath = DEFAULT_CONFIG, by: Who = "unknown", as_json: AsJson = False
) -> None:
    """Run a job on a few of the hospital's own cases, in the sandbox; nothing of it leaves.

    Example: radfed gateway approvals try JOB --by li
    """
    from gateway.app.approving import try_job

    report(try_job(load_as_owner(config), job, by), as_json=as_json)


def approvals_log(
    job: JobId,
    config: ConfigPath = DEFAULT_CONFIG,
    release: Annotated[
        Path | None,
        typer.Option(help="Write it to this file, to hand on: charged, and in the ledger."),
    ] = None,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Show the end of what a job printed, every word masked that its reviewed code does not have.

    Example: radfed gateway approvals log JOB --release for-the-vendor.txt --by li
    """
    from gateway.app.approving import job_log, release_log

    loaded = load_as_owner(config)
    found = job_log(loaded, job) if release is None else release_log(loaded, job, release, by)
    report(found, as_json=as_json)
