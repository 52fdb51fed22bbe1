"""Commands of the privacy budget: status."""

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import DEFAULT_CONFIG, AsJson, ConfigPath, door, report, report_table


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="The privacy budget that questions spend.", no_args_is_help=True)

    @group.callback()
    def _budget() -> None:
        """Show the privacy budget that questions spend."""

    group.command("status")(door(status))
    gateway.add_typer(group, name="privacy")


def status(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show this year's budget, who spent it, and until when it lasts at this pace.

    Example: radfed gateway privacy status
    """
    from gateway.app.spending import privacy_status

    found = privacy_status(load_as_owner(config))
    if as_json:
        report(found, as_json=True)
        return
    spenders = found.pop("spenders")
    report(found, as_json=False)
    columns = ("requester", "spent", "answers", "left")
    report_table(spenders, columns, as_json=False, empty="nobody has spent anything this year")
