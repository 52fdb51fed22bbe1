"""Commands against loss: backup, restore, reconcile."""

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
    require_terminal,
)

CodeFile = Annotated[
    Path | None,
    typer.Option("--recovery-code-file", help="Read the code from a file instead of asking."),
]


def add_to(gateway: typer.Typer) -> None:
    for command in (backup, restore, reconcile):
        gateway.command(command.__name__)(door(command))


def backup(
    into: Annotated[Path, typer.Argument(help="A directory on another disk; it takes many.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Back up what the gateway holds, while it runs; each content once, and read again.

    The site secret is in it in escrow form: without the recovery code it is worth nothing.

    Example: radfed gateway backup /mnt/backup --by li
    """
    from gateway.app.backup import back_up

    with progress_line("saving", enabled=not as_json) as advance:
        document = back_up(load_as_owner(config), config, into, by, advance)
    report(document, as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="A backup's list, or the directory: its newest.")],
    config: ConfigPath = DEFAULT_CONFIG,
    data: Annotated[
        Path | None, typer.Option(help="Another place for the data than the settings name.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the backup through, and put nothing in place.")
    ] = False,
    recovery_code_file: CodeFile = None,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of nothing; budgets and looks wait until they are reconciled.

    Example: radfed gateway restore /mnt/backup --recovery-code-file /media/usb/code
    """
    from gateway.app.restoring import restore as put_back
    from gateway.app.restoring import verify_backup

    with progress_line("reading" if verify else "restoring", enabled=not as_json) as advance:
        if verify:
            document = verify_backup(source, advance)
        else:
            code = _code(recovery_code_file)
            document = put_back(source, config, data, code, by, advance)
    report(document, as_json=as_json)


def reconcile(
    spent: Annotated[
        float | None,
        typer.Option(help="What was spent this year, in rho; without it, the whole budget."),
    ] = None,
    bits: Annotated[
        float | None,
        typer.Option(help="Bits that jobs carried since the backup; without it, a vendor's bound."),
    ] = None,
    looks: Annotated[
        int | None,
        typer.Option(help="Looks taken since the backup; without it, all that a product has."),
    ] = None,
    trained: Annotated[
        list[str] | None,
        typer.Option(
            help="A label that jobs trained on since the backup; repeatable; `none` for none. "
            "Without it no external test is taken: nobody knows of what."
        ),
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Let restored books spend again by your word, where no coordinator can show its last.

    Example: radfed gateway reconcile --spent 0.4 --bits 5000 --looks 1 --trained none --by li
    """
    from gateway.app.restoring import Word
    from gateway.app.restoring import reconcile as take_word

    for name, value in (("--spent", spent), ("--bits", bits), ("--looks", looks)):
        if value is not None and value < 0:
            raise typer.BadParameter("cannot be less than 0", param_hint=name)
    named = None if trained is None else tuple(one for one in trained if one != "none")
    word = Word(spent, bits, looks, named)
    report(take_word(load_as_owner(config), word, by), as_json=as_json)


def _code(file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8", "replace").strip()
    require_terminal("--recovery-code-file")
    return str(typer.prompt("Recovery code", hide_input=True))
