"""`radfed coordinator backup|restore|migrate|doctor`: against loss and trouble."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    door,
    print_json,
    report,
    table,
)


def add_to(app: typer.Typer) -> None:
    for command in (backup, restore, migrate, doctor):
        app.command(command.__name__)(door(command))


def backup(
    into: Annotated[Path, typer.Argument(help="A directory on another disk; it takes many.")],
    keys: Annotated[
        bool,
        typer.Option("--keys", help="The private keys, too: who has them is the federation."),
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Back up tables, trail and objects, while it runs; each content once, and read again.

    Example: radfed coordinator backup /mnt/backup --config federation/coordinator.toml
    """
    from coordinator.app.backup import back_up
    from coordinator.config import load

    report(back_up(load(config), config, into, with_keys=keys), as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="A backup's list, or the directory: its newest.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the backup through, and put nothing in place.")
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of nothing; what it has lost, hospitals find by their checkpoints.

    Example: radfed coordinator restore /mnt/backup --config federation/coordinator.toml
    """
    from coordinator.app.backup import restore as put_back
    from coordinator.app.backup import verify_backup
    from coordinator.app.logs import configure

    configure()
    report(verify_backup(source) if verify else put_back(source, config), as_json=as_json)


def migrate(
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, and do nothing.")
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Bring the tables to this version, with the coordinator stopped (a start does it, too).

    Example: radfed coordinator migrate --plan --config federation/coordinator.toml
    """
    from coordinator.app.logs import configure
    from coordinator.app.migrating import migrate as make
    from coordinator.app.migrating import plan as show
    from coordinator.config import load

    configure()
    settings = load(config)
    report(show(settings) if plan else make(settings), as_json=as_json)


def doctor(
    bundle: Annotated[
        Path | None, typer.Option(help="Make a ZIP for a supporter: no name, no text, no path.")
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong, a sentence each; ends with the code of the first thing that is.

    Example: radfed coordinator doctor --bundle support.zip
    """
    from coordinator.app.doctor import bundle as make_bundle
    from coordinator.app.doctor import examine
    from coordinator.config import load

    settings = load(config)
    findings = examine(settings)
    rows = [{"check": f.name, "ok": f.ok, "says": f.says} for f in findings]
    made = make_bundle(settings, findings, bundle) if bundle is not None else None
    if as_json:
        print_json({"checks": rows, "bundle": made})
    else:
        table(rows, ("check", "ok", "says"), empty="nothing to check")
        if made is not None:
            report(made, as_json=False)
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        typer.echo(f"radfed: {bad[0].says}", err=True)
        raise typer.Exit(int(bad[0].exit_code))
