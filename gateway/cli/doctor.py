"""Commands against trouble: doctor, migrate."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    door,
    print_json,
    report,
    report_table,
)


def add_to(gateway: typer.Typer) -> None:
    gateway.command("doctor")(door(doctor))
    gateway.command("migrate")(door(migrate))


def doctor(
    config: ConfigPath = DEFAULT_CONFIG,
    bundle: Annotated[
        Path | None, typer.Option(help="Make a ZIP for a supporter: no patient, no text, no path.")
    ] = None,
    log: Annotated[
        list[Path] | None, typer.Option(help="A log whose events the bundle counts. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong, a sentence each; ends with the code of the first thing that is.

    Example: radfed gateway doctor --bundle support.zip --log gateway.log
    """
    from gateway.app.doctor import bundle as make_bundle
    from gateway.app.doctor import examine

    settings = load_as_owner(config)
    findings = examine(settings)
    rows = [{"check": f.name, "ok": f.ok, "says": f.says} for f in findings]
    made = make_bundle(settings, findings, bundle, log or []) if bundle is not None else None
    if as_json:
        print_json({"checks": rows, "bundle": made})
    else:
        report_table(rows, ("check", "ok", "says"), as_json=False, empty="nothing to check")
        if made is not None:
            report(made, as_json=False)
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        typer.echo(f"radfed: {bad[0].says}", err=True)
        raise typer.Exit(int(bad[0].exit_code))


def migrate(
    config: ConfigPath = DEFAULT_CONFIG,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the tables to this version; the gateway must be stopped (it would do it at its start).

    Example: radfed gateway migrate --plan
    """
    from gateway.app.migrating import migrate as make
    from gateway.app.migrating import plan as show

    settings = load_as_owner(config)
    report(show(settings) if plan else make(settings), as_json=as_json)
