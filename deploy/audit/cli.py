"""`radfed audit`: the audit trail of either house, or what was exported of one."""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.cli.report import door as centre_door
from gateway.cli.report import AsJson, Who, report
from gateway.cli.report import door as hospital_door
from gateway.errors import ConfigurationFault, IntegrityFault

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar=["RADFED_GATEWAY", "RADFED_COORDINATOR"],
        help="The directory of gateway.toml or coordinator.toml, or the file.",
    ),
]
HERE = Path()
SETTINGS = ("gateway.toml", "coordinator.toml")

audit = typer.Typer(
    name="audit",
    help="Who did what, when: a hash chain in each house, and what was exported of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="An export; without it the trail of --home.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="The other house's export: what it keeps of this one must be in here."),
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(help="What `prune` exported of it before; the oldest first, again for each."),
    ] = None,
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Recompute a hash chain and check every signed checkpoint in it; ends with 9 where it broke.

    Example: radfed audit verify tongji.jsonl --against coordinator.jsonl
    """
    if file is None:
        if against is not None or earlier:
            raise ConfigurationFault("two exports are compared: name this house's newest, too")
        report(_verify_home(home), as_json=as_json)
        return
    report(_verify_file(file, earlier or [], against), as_json=as_json)


def export(
    file: Annotated[Path, typer.Argument(help="The file to make: JSON lines.")],
    home: Home = HERE,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Write the whole trail with its links and checkpoints, for whoever verifies it elsewhere.

    Example: radfed audit export tongji.jsonl --home /etc/radfed
    """
    settings = _settings(home)
    made: Mapping[str, Any]
    if _is_centre(settings):
        from coordinator.app.trail import export_trail as export_centre
        from coordinator.config import load as load_centre

        made = export_centre(load_centre(settings), file)
    else:
        from gateway.app.trail import export_trail
        from gateway.cli.owner import load_as_owner

        made = export_trail(load_as_owner(settings), file, by)
    report(made, as_json=as_json)


def prune(
    file: Annotated[Path, typer.Argument(help="The export to make first.")],
    before: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="Forget what is older than this day.")
    ],
    home: Home = HERE,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Export a house's trail, then forget what lies before a signed checkpoint of that day.

    Example: radfed audit prune until-2026.jsonl --before 2026-01-01 --home /etc/radfed
    """
    settings, day = _settings(home), before.replace(tzinfo=UTC)
    made: Mapping[str, Any]
    if _is_centre(settings):
        from coordinator.app.trail import prune_trail as prune_centre
        from coordinator.config import load as load_centre

        made = prune_centre(load_centre(settings), day, file, by)
    else:
        from gateway.app.trail import prune_trail
        from gateway.cli.owner import load_as_owner

        made = prune_trail(load_as_owner(settings), day, file, by)
    report(made, as_json=as_json)


def _verify_home(home: Path) -> Mapping[str, Any]:
    settings = _settings(home)
    if _is_centre(settings):
        from coordinator.app.trail import verify_trail as verify_centre
        from coordinator.config import load as load_centre

        return verify_centre(load_centre(settings))
    from gateway.app.trail import verify_trail
    from gateway.cli.owner import load_as_owner

    return verify_trail(load_as_owner(settings))


def _verify_file(file: Path, earlier: Sequence[Path], against: Path | None) -> Mapping[str, Any]:
    from protos import audit_export

    def verified(path: Path) -> audit_export.Verified:
        with path.open(encoding="utf-8") as text:
            try:
                return audit_export.verify(text)
            except (audit_export.BrokenExport, UnicodeDecodeError) as fault:
                raise IntegrityFault(f"{path} does not verify: {fault}") from fault

    found = verified(file)
    for path in reversed(earlier):
        try:
            found = audit_export.joined(verified(path), found)
        except audit_export.BrokenExport as fault:
            raise IntegrityFault(f"{path} is not what was before: {fault}") from fault
    facts: dict[str, Any] = {
        "house": found.house,
        "entries": found.entries,
        "begins_after": found.base,
        "head": found.head.hex(),
        "checkpoints": found.own,
        "chain": "unbroken",
    }
    if against is not None:
        other = verified(against)
        lacks = audit_export.missing(found, other)
        if lacks:
            raise IntegrityFault(
                f"{other.house} keeps checkpoint {lacks[0].number} of {found.house}, and it is not "
                f"in {file}: one of the two was rewritten, or a backup was put in place"
            )
        mine = [each for each in other.kept if each.house == found.house]
        facts |= {"against": other.house, "kept_there": len(mine)}
        if hidden := audit_export.out_of_sight(found, other):
            facts["before_it_begins"] = hidden  # name the earlier export to see them, too
    return facts


def _is_centre(settings: Path) -> bool:
    """Say which house's settings these are: a hospital's name their site."""
    try:
        return "site" not in tomllib.loads(settings.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{settings} is not TOML: {fault}") from fault


def _settings(home: Path) -> Path:
    """Find the settings of the house that lives in a directory."""
    if home.is_file():
        return home
    found = [home / name for name in SETTINGS if (home / name).is_file()]
    if len(found) != 1:
        which = "both" if found else "neither"
        raise ConfigurationFault(
            f"{home} has {which} of {' and '.join(SETTINGS)}: name one with --home"
        )
    return found[0]


for command in (verify, export, prune):
    audit.command(command.__name__)(hospital_door(centre_door(command)))
