"""`radfed coordinator`: make a federation, run its coordinator, look at it."""

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
        ("credential", credential),
    ):  # fmt: skip
        app.command(name)(door(command))


def init(
    directory: Annotated[Path, typer.Argument(help="Where the federation is to live.")],
    federation: Annotated[str, typer.Option(help="Its name: it stands in every certificate.")],
    address: Annotated[
        list[str],
        typer.Option(help="HOST:PORT hospitals dial; repeat for further names of this machine."),
    ],
    as_json: AsJson = False,
) -> None:
    """Make a federation: root, certificates, settings, and the first operator's credential.

    Example: radfed coordinator init federation --federation lungs --address radfed.example:8443
    """
    from coordinator.app.setup import all_or_nothing, initialise

    with all_or_nothing(directory):
        made = initialise(directory, federation, address, datetime.now(UTC))
    report(
        {
            "settings": str(made.config),
            "operator_credential": str(made.credential),
            "root_key": f"{made.root_key}" if as_json else f"{made.root_key}: take it offline now",
            "next": f"radfed coordinator run --config {quote(str(made.config))}",
            "then": f"radfed site invite HOSPITAL --as {quote(str(made.credential))}",
        },
        as_json=as_json,
    )


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
    role: Annotated[str, typer.Option(help="operator or vendor.")] = Role.OPERATOR,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a credential for one more operator or vendor.

    Example: radfed coordinator credential phantom-labs phantom-labs/ --role vendor
    """
    from coordinator.app.setup import issue_person

    if role not in set(Role):
        raise ConfigurationFault("a role is operator or vendor")
    made = issue_person(config, Role(role), name, into, datetime.now(UTC))
    report({"credential": str(made)}, as_json=as_json)
