"""`radfed authority`: the federation's offline root, on a machine without a network."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli.report import AsJson, door, report
from coordinator.config import read_private, write_private
from coordinator.errors import ConfigurationFault

if TYPE_CHECKING:
    from coordinator.app.authority import Authority
    from coordinator.registry.custody import Custodian
    from protos.manifest import Manifest

Directory = Annotated[Path, typer.Argument(help="The directory of the root.")]
Custodians = Annotated[
    list[str], typer.Option("--custodian", help="Who holds the root: name two people.")
]
PassphraseFiles = Annotated[
    list[str] | None,
    typer.Option("--passphrase-file", help="NAME=FILE (0600), instead of asking. Repeatable."),
]
Shares = Annotated[
    list[str] | None,
    typer.Option("--share", help="NAME=FILE, where a custodian's share lies elsewhere."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    for command in (init, sign, rotate, show):
        app.command(command.__name__)(door(command))


def init(
    directory: Directory,
    federation: Annotated[str, typer.Option(help="Its name: it stands in every certificate.")],
    custodian: Custodians,
    passphrase_file: PassphraseFiles = None,
    as_json: AsJson = False,
) -> None:
    """Make an offline root that two custodians open together, and neither alone.

    Example: radfed authority init root --federation lungs --custodian anna --custodian bo
    """
    from coordinator.app.authority import Authority, share_name

    people = _people(custodian, passphrase_file, new=True)
    made = Authority.create(directory, federation, people, datetime.now(UTC))
    shares = [str(directory / share_name(name)) for name in custodian]
    facts = {**_facts(made), "shares": shares}
    report(facts, as_json=as_json)
    if not as_json:
        typer.echo(
            "\nEach custodian: take your share away, on two media. Without both shares and both "
            "passphrases nobody can sign for this federation any more."
        )


def sign(
    directory: Directory,
    file: Annotated[
        Path, typer.Argument(help="A coordinator's request (PEM), or a manifest (TOML).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    passphrase_file: PassphraseFiles = None,
    share: Shares = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sign a coordinator's intermediate, or the manifest of whose signatures count.

    Example: radfed authority sign root manifest.toml --out manifest.json
    """
    from coordinator.app import authority as office

    now = datetime.now(UTC)
    authority = office.Authority.load(directory)
    if out.exists():
        raise ConfigurationFault(f"{out} exists already: name another file with --out")
    if file.suffix == ".toml":
        draft = office.read_draft(file, authority, now)
        _confirm(_sentences(draft), yes=yes)
        root = authority.open(_asker(passphrase_file), _named(share))
        signed = office.sign_draft(authority, draft, root, now)
        facts: dict[str, object] = {"signed": "manifest", "version": draft.version}
    else:
        request = office.read_request(file)
        name = f"an intermediate of {authority.federation}, for {request.subject.rfc4514_string()}"
        _confirm([name], yes=yes)
        root = authority.open(_asker(passphrase_file), _named(share))
        signed = office.sign_request(authority, request, root, now)
        facts = {"signed": "intermediate"}
    write_private(out, signed)
    report(facts | {"file": str(out)}, as_json=as_json)


def rotate(
    directory: Directory,
    into: Annotated[Path, typer.Argument(help="The directory of the new root.")],
    custodian: Custodians,
    passphrase_file: PassphraseFiles = None,
    new_passphrase_file: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE, for the new root's custodians. Repeatable."),
    ] = None,
    share: Shares = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a new root and let the old one name it: hospitals that pinned the old can pin the new.

    Example: radfed authority rotate root root-2 --custodian anna --custodian cleo
    """
    from coordinator.app import authority as office

    now = datetime.now(UTC)
    old = office.Authority.load(directory)
    word = into / "succession.json"
    _confirm([f"a successor of the root of {old.federation}, in {into}"], yes=yes)
    people = _people(custodian, new_passphrase_file, new=True)
    root = old.open(_asker(passphrase_file), _named(share))
    said = office.rotate(old, root, into, people, now)
    write_private(word, said)
    made = office.Authority.load(into)
    report({**_facts(made), "succession": str(word)}, as_json=as_json)
    if not as_json:
        typer.echo(
            "\nEvery hospital: radfed gateway policy pin succession.json. When all have, give the "
            "coordinator an intermediate and a manifest of the new root."
        )


def show(directory: Directory, as_json: AsJson = False) -> None:
    """Show a root: its fingerprint, who holds it, and the manifest signed last.

    Example: radfed authority show root
    """
    from coordinator.app.authority import Authority

    report(_facts(Authority.load(directory)), as_json=as_json)


def _facts(authority: "Authority") -> dict[str, object]:
    from protos.root import fingerprint

    manifest = authority.manifest()
    return {
        "federation": authority.federation,
        "root": str(authority.directory / "root.crt"),
        "fingerprint": fingerprint(authority.root),
        "held_by": list(authority.custodians()) or "nobody: its key lies here in the clear",
        "valid_until": authority.root.not_valid_after_utc.isoformat(),
        "manifest_version": 0 if manifest is None else manifest.version,
    }


def _sentences(draft: "Manifest") -> list[str]:
    """Say what the custodians are about to sign, one line for each signer and project."""
    until = datetime.fromtimestamp(draft.expires, UTC).date().isoformat()
    lines = [f"manifest of {draft.federation}, version {draft.version}, until {until}"]
    lines += [
        f"  {s.role} {s.name} of {s.organisation}, key {s.public_key[:16]}" for s in draft.signers
    ]
    lines += [
        f"  project {p.name}: {', '.join(p.organisations)} at {', '.join(p.hospitals)}"
        for p in draft.projects
    ]
    return lines


def _confirm(lines: list[str], *, yes: bool) -> None:
    for line in lines:
        typer.echo(line, err=True)
    if not yes:
        typer.confirm("Sign this?", abort=True, err=True)


def _people(names: list[str], files: list[str] | None, *, new: bool) -> "tuple[Custodian, ...]":
    ask = _asker(files, new=new)
    return tuple(map(ask, names))


def _asker(files: list[str] | None, *, new: bool = False) -> "Callable[[str], Custodian]":
    """Return what asks a custodian for the passphrase: never on the command line."""
    from coordinator.registry.custody import Custodian

    named = _named(files)

    def ask(name: str) -> Custodian:
        if name in named:
            return Custodian(name, read_private(named[name]).decode().strip("\n"))
        if not sys.stdin.isatty():
            raise ConfigurationFault(
                f"{name}'s passphrase is needed: at a terminal, or by --passphrase-file {name}=FILE"
            )
        said = typer.prompt(
            f"{name}'s passphrase", hide_input=True, confirmation_prompt=new, err=True
        )
        return Custodian(name, str(said))

    return ask


def _named(given: list[str] | None) -> dict[str, Path]:
    """Read NAME=FILE."""
    found = {}
    for text in given or ():
        name, equals, place = text.partition("=")
        if not equals or not name or not place:
            raise ConfigurationFault(f"`{text}` is not NAME=FILE")
        found[name] = Path(place)
    return found
