"""`radfed site`: the hospitals of the federation."""

from typing import TYPE_CHECKING, Annotated

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
from coordinator.errors import NotFound

if TYPE_CHECKING:
    from protos.v1.federation_pb2 import Site

DIGITS = ("<10000", "1-9", "10-99", "100-999", "1000-9999")
COLUMNS = (
    "site", "standing", "connected", "last_seen", "version", "certificate_until",
    "clock_skew_seconds", "backlog", "disk_free", "certificate_days", "chain",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("invite")(door(invite))
    app.command("ls")(door(ls))
    app.command("show")(door(show))
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
    listing(
        [_facts(site) for site in sites],
        COLUMNS,
        as_json=as_json,
        empty="no hospital was invited yet",
    )


def show(name: SiteName, as_: As = None, as_json: AsJson = False) -> None:
    """Show how one hospital is: as coarsely as its gateway says it.

    Example: radfed site show tongji
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        found = next((site for site in federation.sites() if site.name == name), None)
    if found is None:
        raise NotFound(f"no site is called {name}: see `radfed site ls`")
    kept = found.checkpoint if found.HasField("checkpoint") else None
    facts = _facts(found) | {
        "checkpoint": kept.number if kept else None,
        "checkpoint_at": moment(kept.at) if kept else None,
        "checkpoint_link": kept.link.hex() if kept else None,
        "accepting": found.condition.accepting if found.HasField("condition") else None,
    }
    report(facts, as_json=as_json)


def _facts(site: "Site") -> dict[str, object]:
    said = site.condition if site.HasField("condition") else None
    ends = site.certificate_expires_at if site.HasField("certificate_expires_at") else None
    return {
        "site": site.name,
        "standing": site.standing,
        "connected": site.connected,
        "last_seen": moment(site.last_seen_at) if site.HasField("last_seen_at") else None,
        "version": site.software_version,
        "certificate_until": moment(ends) if ends else None,
        "clock_skew_seconds": round(site.clock_skew_seconds, 3),
        "backlog": _magnitude(said.backlog_digits) if said else None,
        "disk_free": f"{10 * said.disk_free_tenths} %" if said else None,
        "certificate_days": said.certificate_days if said else None,
        "chain": site.chain_fault or ("kept" if site.HasField("checkpoint") else None),
    }


def _magnitude(digits: int) -> str:
    return DIGITS[digits] if digits < len(DIGITS) else "10000 and more"
