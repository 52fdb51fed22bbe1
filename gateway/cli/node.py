"""Commands of whoever runs the gateway: init, enrol, run, status, preflight, echo, import."""

import sys
from pathlib import Path
from shlex import quote
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
    require_terminal,
)
from gateway.config import load
from gateway.errors import ConfigurationFault, ExitCode

PeerOption = Annotated[
    list[str] | None,
    typer.Option("--peer", help="Who may call: NAME=AE@HOST:PORT, or NAME=AE. Repeatable."),
]


def add_to(gateway: typer.Typer) -> None:
    for command in (init, enrol, run, status, preflight, echo):
        gateway.command()(door(command))
    gateway.command("import")(door(import_files))
    gateway.command("pixel-worker", hidden=True)(door(pixel_worker))
    escrow = typer.Typer(help="The site secret's escrow.", no_args_is_help=True)
    escrow.command("verify")(door(escrow_verify))
    gateway.add_typer(escrow, name="escrow")


def init(
    config: ConfigPath = DEFAULT_CONFIG,
    site: Annotated[
        str | None, typer.Option(help="The name the federation invited you under.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where studies and keys are kept.")] = None,
    ae_title: Annotated[str, typer.Option(help="The gateway's AE title.")] = "RADFED",
    host: Annotated[str, typer.Option(help="The address to receive on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(help="The DICOM port; 0 for any, -1 for none.")] = 11112,
    tls_port: Annotated[int | None, typer.Option(help="The DICOM-over-TLS port.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Its certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    peer: PeerOption = None,
    console_port: Annotated[int, typer.Option(help="The port of the steward's pages.")] = 8420,
    reserve_bytes: Annotated[int, typer.Option(help="Free disk kept in reserve.")] = 2 << 30,
    recovery_code_file: Annotated[
        Path | None, typer.Option(help="Write the recovery code here (0600) instead of showing it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a new gateway: commented settings, a policy, keys that only you can read.

    Example: radfed gateway init --site tongji --data /var/lib/radfed --peer pacs=PACS@10.0.0.5:104
    """
    from gateway.app.setup import NewPeer, Wishes, initialise

    if (tls_certificate is None) != (tls_key is None):
        raise ConfigurationFault("--tls-certificate and --tls-key go together")
    wishes = Wishes(
        config=config,
        site=_asked(site, "--site", "The hospital's name in the federation"),
        data=Path(_asked(None if data is None else str(data), "--data", "Directory for its data")),
        ae_title=ae_title,
        host=host,
        port=None if port < 0 else port,
        tls_port=tls_port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        console_port=console_port,
        reserve_bytes=reserve_bytes,
        peers=tuple(map(NewPeer.parse, peer or ())),
        recovery_code_file=recovery_code_file,
    )
    made = initialise(wishes)
    report(made, as_json=as_json)
    if not as_json:
        if "recovery_code" in made:
            typer.echo(
                "\nWrite the recovery code on paper and lock it away: it is not shown again."
            )
        named = "" if config == DEFAULT_CONFIG else f" --config {quote(str(config))}"
        typer.echo(
            f"Next: radfed gateway enrol -{named} (paste the token), then radfed gateway run{named}"
        )


def enrol(
    token: Annotated[
        str, typer.Argument(help="The invitation token, a file with it, or - for stdin.")
    ],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    force: Annotated[
        bool, typer.Option("--force", help="Replace this gateway's identity.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Join the federation: make a key here, have it certified, and keep the certificate.

    Example: radfed gateway enrol radfed1.eyJuIjoi...
    """
    from gateway.app.outbound import enrol_gateway

    text = _token_text(token)  # whose file may be root's
    document = enrol_gateway(load_as_owner(config), text, by, force=force)
    report(document, as_json=as_json)


def run(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Receive, keep, answer: until SIGTERM. Says where once it is up; what happens is logged.

    Example: radfed gateway run --config /etc/radfed/gateway.toml
    """
    from gateway.app.lean import decode_nothing, return_memory

    decode_nothing("numpy", "rich")  # the gate counts with one, the commands draw with the other
    return_memory()
    from gateway.app.node import Node

    Node(load(config), config).run(started=lambda facts: report(facts, as_json=as_json))


def status(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Say what this gateway holds and how it is; works whether it runs or not.

    Example: radfed gateway status --json
    """
    from gateway.app.status import status_of

    report(status_of(load_as_owner(config)), as_json=as_json)


def preflight(
    config: ConfigPath = DEFAULT_CONFIG,
    token: Annotated[
        str | None,
        typer.Option(
            help="Prove an invitation token too (a file, or - for stdin); it stays unused."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether this gateway could start and reach its coordinator, and start nothing.

    Example: radfed gateway preflight --token token
    """
    from gateway.app.preflight import check

    text = None if token is None else _token_text(token)
    findings = check(load_as_owner(config), text)
    rows = [{"check": f.name, "ok": f.ok, "says": f.says} for f in findings]
    report_table(rows, ("check", "ok", "says"), as_json=as_json, empty="nothing to check")
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        typer.echo(f"radfed: {bad[0].says}", err=True)
        raise typer.Exit(int(bad[0].exit_code))


def echo(
    peer: Annotated[str, typer.Argument(help="A peer's name in the settings.")],
    config: ConfigPath = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Send a C-ECHO to a peer, such as the PACS.

    Example: radfed gateway echo pacs
    """
    from gateway.app.build import echo_peer

    report(echo_peer(load_as_owner(config), peer, timeout), as_json=as_json)


def import_files(
    source: Annotated[Path, typer.Argument(help="A directory, a ZIP, or one DICOM file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Take DICOM files from a directory or ZIP, with the promises of a C-STORE.

    Files are left where they are. One that is not taken is named; the command then ends with 8.

    Example: radfed gateway import /mnt/archive/2024
    """
    from gateway.app.build import import_into

    with progress_line("importing", enabled=not as_json) as advance:
        document = import_into(load_as_owner(config, reads=source), source, advance)
    report(document, as_json=as_json)
    if document["not_taken"] or document["stopped"]:
        raise typer.Exit(int(ExitCode.PARTIAL))


def escrow_verify(
    config: ConfigPath = DEFAULT_CONFIG,
    recovery_code_file: Annotated[
        Path | None, typer.Option(help="Read the code from a file instead of asking.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that the recovery code opens the escrow to this site's secret.

    Example: radfed gateway escrow verify --recovery-code-file /media/usb/code
    """
    from gateway.app.setup import verify_escrow

    if recovery_code_file is not None:
        code = recovery_code_file.read_text("utf-8", "replace").strip()
    else:
        require_terminal("--recovery-code-file")
        code = typer.prompt("Recovery code", hide_input=True)
    verify_escrow(load_as_owner(config), code)
    report({"escrow": "verified"}, as_json=as_json)


def pixel_worker(
    parent: Annotated[int, typer.Option()],
    memory_bytes: Annotated[int, typer.Option()],
) -> None:
    """Look at pixels that arrive on standard input; started by `run` alone."""
    from gateway.app.pixel_room import work

    work(parent, memory_bytes)


def _asked(given: str | None, option: str, question: str) -> str:
    if given is not None:
        return given
    require_terminal(option)
    return str(typer.prompt(question))


def _token_text(token: str) -> str:
    if token == "-":  # noqa: S105 - stands for standard input
        return sys.stdin.read()
    if token.startswith("radfed") or not Path(token).is_file():
        return token
    return Path(token).read_text("utf-8")
