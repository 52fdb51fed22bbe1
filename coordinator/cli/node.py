"""`radfed coordinator`: make a federation, run its coordinator, look at it."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from coordinator.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, report
from coordinator.errors import ConfigurationFault
from protos.identity import Role


def add_to(app: typer.Typer) -> None:
    for name, command in (
        ("init", init), ("run", run), ("status", status), ("preflight", preflight),
        ("credential", credential), ("request", request), ("install", install),
    ):  # fmt: skip
        app.command(name)(door(command))


def init(
    directory: Annotated[Path, typer.Argument(help="Where the federation is to live.")],
    federation: Annotated[str, typer.Option(help="Its name: it stands in every certificate.")],
    address: Annotated[
        list[str],
        typer.Option(help="HOST:PORT hospitals dial; repeat for further names of this machine."),
    ],
    root: Annotated[
        Path | None, typer.Option(help="The certificate of an offline authority's root.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a federation: certificates, settings, and the first operator's credential.

    Without --root it gets an authority of its own in DIRECTORY/root, whose key lies there in the
    clear: right for a trial, or for one operator. With --root the key stays with its custodians
    (`radfed authority init`), and this makes the request they sign.

    Example: radfed coordinator init federation --federation lungs --address radfed.example:8443
    """
    from coordinator.app.setup import all_or_nothing, initialise, prepare

    now = datetime.now(UTC)
    with all_or_nothing(directory):
        if root is None:
            made = initialise(directory, federation, address, now)
        else:
            made = prepare(directory, federation, address, root.read_bytes(), now)
    facts: dict[str, object] = {"settings": str(made.config)}
    if made.request is not None:
        facts["request"] = str(made.request)
        facts["next"] = f"radfed authority sign ROOT {made.request} --out issuing.crt"
        facts["then"] = f"radfed coordinator install issuing.crt --config {made.config}"
    else:
        warning = f"{made.root_key}: a local authority's, in the clear; take it offline now"
        facts["operator_credential"] = str(made.credential)
        facts["root_key"] = str(made.root_key) if as_json else warning
        facts["next"] = f"radfed coordinator run --config {quote(str(made.config))}"
        facts["then"] = f"radfed site invite HOSPITAL --as {quote(str(made.credential))}"
    report(facts, as_json=as_json)


def request(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Make the request for the next intermediate, for the authority to sign.

    Example: radfed coordinator request --config federation/coordinator.toml
    """
    from coordinator.app.signed import request_next
    from coordinator.config import load

    report({"request": str(request_next(load(config)))}, as_json=as_json)


def install(
    file: Annotated[Path, typer.Argument(help="An intermediate, a manifest, or a successor.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Take in what the federation's authority signed.

    Example: radfed coordinator install manifest.json
    """
    from coordinator.app.signed import install as take_in

    report(take_in(config, file, datetime.now(UTC)), as_json=as_json)


def run(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Run until SIGTERM: serve hospitals, operators and vendors.

    Example: radfed coordinator run --config federation/coordinator.toml
    """
    import asyncio

    from coordinator.app.logs import configure
    from coordinator.app.process import Coordinator
    from coordinator.app.process import run as run_coordinator
    from coordinator.config import load

    settings = load(config)
    configure()

    def started(coordinator: Coordinator) -> None:
        facts = {"federation": settings.federation, "port": coordinator.port}
        report(facts | coordinator.addresses(), as_json=as_json)
        if coordinator.first_link is not None and sys.stderr.isatty():  # to a person, in no log
            typer.echo(f"The console's first account, once: {coordinator.first_link}", err=True)

    asyncio.run(run_coordinator(settings, started))


def status(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Say how the coordinator stands, running or not, from its own tables.

    Example: radfed coordinator status --config federation/coordinator.toml
    """
    from coordinator.app.status import status as read_status
    from coordinator.config import load

    report(read_status(load(config)), as_json=as_json)


def preflight(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Say whether this coordinator could start, and start nothing.

    Example: radfed coordinator preflight --config federation/coordinator.toml
    """
    from coordinator.app.status import preflight as check
    from coordinator.config import load

    report(check(load(config)), as_json=as_json)


def credential(
    name: Annotated[str, typer.Argument(help="Whom it is for.")],
    into: Annotated[Path, typer.Argument(help="The directory to make.")],
    role: Annotated[
        str, typer.Option(help="operator, requester, reviewer, vendor or auditor.")
    ] = Role.OPERATOR,
    organisation: Annotated[
        str, typer.Option(help="Whose person it is: a vendor or requester sees its work alone.")
    ] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a credential: by what somebody reaches the coordinator, and as what.

    Example: radfed coordinator credential bo reviewer-bo --role reviewer
    """
    from coordinator.app.setup import issue_person

    if role not in set(Role):
        raise ConfigurationFault(f"`{role}` is no role")
    made = issue_person(config, Role(role), name, organisation, into, datetime.now(UTC))
    report({"credential": str(made)}, as_json=as_json)
