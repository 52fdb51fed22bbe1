"""Commands that look after what is held: patient merge, optout and ls; reindex; verify."""

import sys
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    Who,
    door,
    progress_line,
    report,
    report_table,
)
from gateway.errors import ExitCode

PatientID = Annotated[
    str, typer.Argument(help="The hospital's patient ID; - reads a line from stdin.")
]
Undo = Annotated[bool, typer.Option("--undo", help="Take the decision back.")]
Reason = Annotated[str, typer.Option(help="On the audit trail; without the patient's ID.")]
NOT_HERE = "no image of this patient is here: check ID and issuer; images to come will be honoured"


def add_to(gateway: typer.Typer) -> None:
    gateway.command("reindex")(door(rebuild))
    gateway.command("verify")(door(verify))
    patient = typer.Typer(
        help="Who counts as one person, and who has withdrawn.", no_args_is_help=True
    )
    for verb, command in (("merge", merge), ("optout", optout), ("ls", listed)):
        patient.command(verb)(door(command))
    gateway.add_typer(patient, name="patient")


def merge(
    old_id: PatientID,
    new_id: PatientID,
    config: ConfigPath = DEFAULT_CONFIG,
    issuer_old: Annotated[str, typer.Option(help="Issuer of the old ID, as images say it.")] = "",
    issuer_new: Annotated[str, typer.Option(help="Issuer of the new ID, as images say it.")] = "",
    undo: Undo = False,
    reason: Reason = "",
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Let two patient IDs count as one person from now on. Only pseudonyms are kept.

    Example: radfed gateway patient merge - - --reason "registered twice"
    """
    from gateway.app.care import PatientName, merge_patients

    old = PatientName(_given(old_id), issuer_old)
    new = PatientName(_given(new_id), issuer_new)
    document = merge_patients(load_as_owner(config), old, new, by, reason, undo=undo)
    report(document, as_json=as_json)
    _hint(document["studies"])


def optout(
    patient_id: PatientID,
    config: ConfigPath = DEFAULT_CONFIG,
    issuer: Annotated[str, typer.Option(help="Issuer of the ID, as images say it.")] = "",
    undo: Undo = False,
    reason: Reason = "",
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Take a patient out of every question and cohort, images to come too. Nothing is erased.

    Example: echo 1002003 | radfed gateway patient optout - --reason "consent withdrawn"
    """
    from gateway.app.care import PatientName, optout_patient

    who = PatientName(_given(patient_id), issuer)
    document = optout_patient(load_as_owner(config), who, by, reason, undo=undo)
    report(document, as_json=as_json)
    _hint(document["studies"])


def listed(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List decisions about patients as they stand: pseudonyms and states only.

    Example: radfed gateway patient ls
    """
    from gateway.app.care import decided_patients

    rows = decided_patients(load_as_owner(config))
    columns = ("patient", "counts_as", "state")
    report_table(rows, columns, as_json=as_json, empty="nothing was decided about any patient")


def rebuild(
    config: ConfigPath = DEFAULT_CONFIG, by: Who = "unknown", as_json: AsJson = False
) -> None:
    """Rebuild the index from the stored files; the gateway must be stopped.

    A file whose seal does not open goes to quarantine, and the command then ends with 8.

    Example: radfed gateway reindex --by li
    """
    from gateway.app.care import rebuild_index

    with progress_line("indexing", enabled=not as_json) as advance:
        document = rebuild_index(load_as_owner(config), by, advance)
    report(document, as_json=as_json)
    if document["damaged"]:
        raise typer.Exit(int(ExitCode.PARTIAL))


def verify(
    config: ConfigPath = DEFAULT_CONFIG,
    set_aside: Annotated[
        bool,
        typer.Option("--set-aside", help="Move what is damaged to quarantine; gateway stopped."),
    ] = False,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Read all that is held again: stored files against their seals, the index, the vault.

    While the gateway runs, too. Ends with 9 where something is not as it was acknowledged, and
    says what to do; with 8 once that is set aside.

    Example: radfed gateway verify --json
    """
    from gateway.app.verifying import verify as read_again

    with progress_line("reading", enabled=not as_json) as advance:
        document = read_again(load_as_owner(config), by, advance, aside=set_aside)
    report(document, as_json=as_json)
    if document["advice"]:
        raise typer.Exit(int(ExitCode.INTEGRITY))
    if document["quarantined"]:
        raise typer.Exit(int(ExitCode.PARTIAL))


def _given(patient_id: str) -> str:
    """Take an ID from stdin where it shall stay out of the shell's history and of `ps`."""
    if patient_id != "-":
        return patient_id
    if sys.stdin.isatty():
        return str(typer.prompt("Patient ID", hide_input=True))
    return sys.stdin.readline().strip()


def _hint(studies: int) -> None:
    if studies == 0:
        typer.echo(f"radfed: {NOT_HERE}", err=True)
