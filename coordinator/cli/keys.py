"""The keys people sign with: made, and read, by one way for requester, reviewer and vendor."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli.report import AsJson, door, report
from coordinator.errors import ConfigurationFault, EnvironmentFault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def add_keygen(app: typer.Typer, role: str, what: str) -> None:
    """Give a group its `keygen`; the group's callback keeps it a group of one command."""
    app.callback()(_nothing)
    told = f"Make the key a {role} signs {what} with (Ed25519).\n\n"
    told += f"Example: radfed {role} keygen {role}.key"
    app.command("keygen", help=told)(door(_keygen(Path(f"{role}.key"))))


def _nothing() -> None:
    """Stand for the group."""


def _keygen(usual: Path) -> Callable[..., None]:
    def keygen(
        path: Annotated[Path, typer.Argument(help="Where the private key is to lie.")] = usual,
        as_json: AsJson = False,
    ) -> None:
        report(make_key(path), as_json=as_json)

    return keygen


def make_key(path: Path) -> dict[str, str]:
    """Make a key (0600) and, beside it, what the authority writes into the manifest."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from coordinator.config import write_private

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    beside = path.with_suffix(".pub")
    if beside.exists():
        raise EnvironmentFault(f"{beside} exists already and is never overwritten")
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    beside.write_text(f"{public}\n")
    return {"private_key_file": str(path), "public_key_file": str(beside), "public_key": public}


def signer(path: Path, role: str) -> "Ed25519PrivateKey":
    """Read a private key; a sentence that names the command where it is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from coordinator.config import read_private

    if not path.exists():
        raise ConfigurationFault(f"{path} is missing: make one with `radfed {role} keygen`")
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as fault:
        raise ConfigurationFault(f"{path} is not a private key") from fault
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationFault(f"{path} is not an Ed25519 key: `radfed {role} keygen` makes one")
    return key
