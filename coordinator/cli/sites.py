"""`radfed site`: the hospitals of the federation."""

from typing import Annotated

import typer

from coordinator.cli.report import (
    As,
    AsJson,
    credential_dir,
    door,
    listing,
    moment,
    print_json,
    report,
)

COLUMNS = (
    "site", "standing", "connected", "last_seen", "version", "certificate_until",
    "clock_skew_seconds",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("invite")(door(invite))
    app.command("ls")(door(ls))
    for command in (suspend, restore, revoke):
        app.command(command.__name__)(door(command))


def invite(
    name: Annotated[str, typer.Argument(help="The hospital: lower-case letters, digits, hyphens.")],
    hours: Annotated[int, typer.Option(help="How long the token may be used; 0: the default.")] = 0,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Print a single-use token: what the hospital types after `radfed gateway enrol`.

    Example: radfed site invite tongji --as federation/operator
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        made = federation.invite(name, hours)
    if as_json:
        ends = moment(made.expires_at)
        print_json({"site": name, "token": made.token, "expires_at": ends})
    else:
        typer.echo(made.token)


SiteName = Annotated[str, typer.Argument(help="The hospital, as `radfed site ls` names it.")]


def suspend(name: SiteName, as_: As = None, as_json: AsJson = False) -> None:
    """Shut a hospital out until `radfed site restore`; what it does now ends at once.

    Example: radfed site suspend tongji
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        federation.suspend(name)
    report({"site": name, "standing": "suspended"}, as_json=as_json)


def restore(name: SiteName, as_: As = None, as_json: AsJson = False) -> None:
    """Let a suspended hospital in again: it comes back by itself.

    Example: radfed site restore tongji
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        federation.restore(name)
    report({"site": name, "standing": "active"}, as_json=as_json)


def revoke(
    name: SiteName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Shut a hospital out for ever, with every certificate it has. Its name is used up.

    Example: radfed site revoke tongji
    """
    from coordinator.api.client import Credential, Federation

    if not yes:
        typer.confirm(f"Revoke {name} for ever?", abort=True, err=True)
    with Federation(Credential.load(credential_dir(as_))) as federation:
        federation.revoke(name)
    report({"site": name, "standing": "revoked"}, as_json=as_json)


def ls(as_: As = None, as_json: AsJson = False) -> None:
    """List every hospital ever invited.

    Example: radfed site ls --json
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        sites = federation.sites()
    rows = [
        {
            "site": site.name,
            "standing": site.standing,
            "connected": site.connected,
            "last_seen": moment(site.last_seen_at) if site.HasField("last_seen_at") else None,
            "version": site.software_version,
            "certificate_until": moment(site.certificate_expires_at)
            if site.HasField("certificate_expires_at")
            else None,
            "clock_skew_seconds": round(site.clock_skew_seconds, 3),
        }
        for site in sites
    ]
    listing(rows, COLUMNS, as_json=as_json, empty="no hospital was invited yet")
