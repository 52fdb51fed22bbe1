"""`radfed project`: for what work is done, on whose behalf, and until when."""

import typer

from coordinator.cli.report import As, AsJson, credential_dir, door, listing, moment

COLUMNS = ("project", "purpose", "organisations", "hospitals", "until")


def add_to(app: typer.Typer) -> None:
    app.callback()(_nothing)
    app.command("ls")(door(ls))


def _nothing() -> None:
    """List the projects that the federation's authority signed."""


def ls(as_: As = None, as_json: AsJson = False) -> None:
    """List the projects questions and jobs may name; the authority signs them (manifest.toml).

    Example: radfed project ls
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        projects = federation.projects()
    rows = [
        {
            "project": each.name,
            "purpose": each.purpose,
            "legal_basis": each.legal_basis,
            "ethics": each.ethics,
            "organisations": list(each.organisations),
            "hospitals": list(each.hospitals),
            "until": moment(each.expires_at),
        }
        for each in projects
    ]
    listing(rows, COLUMNS, as_json=as_json, empty="the manifest names no project of yours")
