"""Commands of the way back: custodian add, ls and remove; reidentify; keys ls and rotate."""

import sys
from pathlib import Path
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
from gateway.errors import ConfigurationFault, ExitCode

NEEDED = 2
Name = Annotated[str, typer.Argument(help="The person: one word, a-z and digits.")]
Code = Annotated[
    Path | None,
    typer.Option("--recovery-code-file", help="The escrow's recovery code; else it is asked for."),
]


def add_to(gateway: typer.Typer) -> None:
    group = typer.Typer(help="Who may open the way back, two together.", no_args_is_help=True)
    for verb, command in (("add", add), ("ls", listed), ("remove", remove)):
        group.command(verb)(door(command))
    gateway.add_typer(group, name="custodian")
    gateway.command()(door(reidentify))
    keys = typer.Typer(help="The versions of the site's keys.", no_args_is_help=True)
    keys.command("ls")(door(keys_listed))
    keys.command()(door(rotate))
    gateway.add_typer(keys, name="keys")


def add(
    name: Name,
    config: ConfigPath = DEFAULT_CONFIG,
    recovery_code_file: Code = None,
    pass_key_file: Annotated[
        Path | None, typer.Option(help="Write the pass key here (0600) instead of showing it.")
    ] = None,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Make a person a custodian: the pass key is theirs alone, and shown once.

    Example: radfed gateway custodian add li
    """
    from gateway.app.custodians import add_custodian

    loaded = load_as_owner(config)
    code = _secret("Recovery code", recovery_code_file)
    report(add_custodian(loaded, name, code, by, pass_key_file), as_json=as_json)


def listed(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List custodians; `counts` is no where the audit trail does not vouch for one.

    Example: radfed gateway custodian ls
    """
    from gateway.app.custodians import custodians

    rows = custodians(load_as_owner(config))
    columns = ("custodian", "since", "counts")
    report_table(rows, columns, as_json=as_json, empty="nobody is a custodian yet")


def remove(
    name: Name,
    reason: Annotated[str, typer.Option(help="On the audit trail.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Let a person's pass key open nothing any more.

    Example: radfed gateway custodian remove li --reason "left the hospital"
    """
    from gateway.app.custodians import remove_custodian

    report(remove_custodian(load_as_owner(config), name, by, reason), as_json=as_json)


def reidentify(
    asked: Annotated[
        str, typer.Argument(metavar="PSEUDONYM", help="A patient's pseudonym, or a UID of ours.")
    ],
    reason: Annotated[str, typer.Option(help="On the audit trail; without the patient's ID.")],
    config: ConfigPath = DEFAULT_CONFIG,
    pass_key: Annotated[
        list[Path] | None,
        typer.Option(help="A custodian's pass key file; twice. Keys not given are asked for."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whose a pseudonym is: two custodians together, for a reason, on the audit trail.

    Example: radfed gateway reidentify ABCDEFGHIJKLMNOP --reason "incidental finding, call back"
    """
    from gateway.app.reidentifying import reidentify as open_way_back

    loaded = load_as_owner(config)
    files: list[Path | None] = [*(pass_key or ())]
    files += [None] * (NEEDED - len(files))
    keys = [_secret(f"Pass key {number}", file) for number, file in enumerate(files, 1)]
    report(open_way_back(loaded, asked, reason, keys), as_json=as_json)


def keys_listed(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the keys that rotate, which version writes, and whether the store is behind it.

    Example: radfed gateway keys ls
    """
    from gateway.app.rotating import versions

    rows = versions(load_as_owner(config))
    columns = ("key", "version", "under_way")
    report_table(rows, columns, as_json=as_json, empty="no key rotates")


def rotate(
    key: Annotated[str, typer.Argument(help="`seal`, `vault`, `noise`, `pseudonym` or `shift`.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    only_turn: Annotated[
        bool,
        typer.Option("--only-turn", help="Of `pseudonym` or `shift`: leave the run for later."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go on under a new version of a key; but for `noise`, stop the gateway while it is turned.

    `seal` and `vault`: what was sealed before still opens. `noise`: what was answered in this
    epoch stays answered as it was, and new questions are drawn anew. `pseudonym` and `shift`:
    every stored instance is brought to new pseudonyms and UIDs, or to new dates. That run goes on
    when the command is repeated, beside a running gateway too (`--only-turn`, then start it). Until
    its end, questions and rounds are refused; jobs whose cohort was frozen before have ended.

    Example: radfed gateway keys rotate pseudonym
    """
    from gateway.app.rotating import purpose_named, turn_noise
    from gateway.app.rotating import rotate as rotate_one
    from gateway.keys import ANSWERING, REMAPPING

    loaded, purpose = load_as_owner(config), purpose_named(key)
    if purpose not in REMAPPING:
        if only_turn:
            raise ConfigurationFault("--only-turn is for `pseudonym` and `shift`")
        if purpose in ANSWERING:
            report(turn_noise(loaded, by), as_json=as_json)
        else:
            report(rotate_one(loaded, purpose, by), as_json=as_json)
        return
    from gateway.app.rekeying import rotate_patients

    with progress_line("rotating", enabled=not as_json) as advance:
        document = rotate_patients(loaded, purpose, by, advance, only_turn=only_turn)
    report(document, as_json=as_json)
    if document.get("set_aside") or document.get("damaged"):
        raise typer.Exit(int(ExitCode.PARTIAL))


def _secret(what: str, file: Path | None) -> str:
    """Take a secret from a file, from a person unseen, or a line of stdin: never an option."""
    if file is not None:
        try:
            return file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigurationFault(f"{file} cannot be read as a key") from fault
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=True))
    return sys.stdin.readline().strip()
