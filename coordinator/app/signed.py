"""What the offline authority signed, taken in: an intermediate, a manifest, a new root."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from coordinator.app.setup import certify
from coordinator.config import (
    CoordinatorConfig,
    load,
    read_private,
    replace_private,
    write_private,
)
from coordinator.errors import ConfigurationFault, EnvironmentFault, Refused
from coordinator.registry.certificates import is_issued_by, request_issuing
from protos.manifest import Manifest, read_manifest
from protos.root import NotOfTheRoot, fingerprint, read_roots, read_succession

NEXT_KEY, NEXT_REQUEST = "issuing.next.key", "issuing.next.csr"


def request_next(config: CoordinatorConfig) -> Path:
    """Make the key of the next intermediate, and the request the custodians sign.

    The one in force goes on signing; what it signed stays valid to its own end.
    """
    key_file, request = config.keys / NEXT_KEY, config.keys / NEXT_REQUEST
    if request.exists():
        raise EnvironmentFault(f"{request} waits for the authority: have it signed and install it")
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file.unlink(missing_ok=True)
    write_private(key_file, pem)
    write_private(request, request_issuing(key, config.federation))
    return request


def install(config_file: Path, file: Path, now: datetime) -> dict[str, object]:
    """Take in whatever the authority signed; what it did not sign is refused."""
    config = load(config_file)
    try:
        raw = file.read_bytes()
    except OSError as fault:
        raise ConfigurationFault(f"{file} cannot be read: {fault.strerror}") from fault
    if raw.startswith(b"-----BEGIN CERTIFICATE"):
        return _install_intermediate(config_file, config, raw, now)
    if b'"root-succession"' in raw:
        return _install_root(config, raw)
    return _install_manifest(config, raw, now)


def installed_manifest(config: CoordinatorConfig) -> tuple[bytes, Manifest] | None:
    """Return the manifest hospitals are given, as it was signed; None where there is none."""
    file = config.manifest_file
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return raw, read_manifest(raw, _roots(config))
    except NotOfTheRoot as fault:
        raise ConfigurationFault(f"{file}: {fault}") from fault


def _install_intermediate(
    config_file: Path, config: CoordinatorConfig, raw: bytes, now: datetime
) -> dict[str, object]:
    try:
        made = x509.load_pem_x509_certificate(raw)
    except ValueError as fault:
        raise ConfigurationFault("this certificate is damaged: copy it once more") from fault
    if not any(is_issued_by(made, root) for root in _roots(config)):
        raise Refused("this intermediate is not of this federation's root")
    if made.not_valid_after_utc <= now:
        raise ConfigurationFault("this intermediate has run out: have another signed")
    key = _key_of(config, made)
    replace_private(config.keys / "issuing.key", key)
    replace_private(config.keys / "issuing.crt", raw)
    for done in (NEXT_KEY, NEXT_REQUEST, "issuing.csr"):
        (config.keys / done).unlink(missing_ok=True)
    certify(config_file, now)
    until = made.not_valid_after_utc.isoformat()
    return {"installed": "intermediate", "valid_until": until}


def _install_manifest(config: CoordinatorConfig, raw: bytes, now: datetime) -> dict[str, object]:
    try:
        manifest = read_manifest(raw, _roots(config))
    except NotOfTheRoot as fault:
        raise Refused(f"{fault}: have it signed by this federation's authority") from fault
    if manifest.federation != config.federation:
        raise Refused(f"this manifest is of the federation {manifest.federation}")
    if not manifest.is_current(now.timestamp()):
        raise ConfigurationFault("this manifest is not in force at this hour")
    last = installed_manifest(config)
    if last is not None and manifest.version < last[1].version:
        raise Refused(f"version {manifest.version} is older than {last[1].version}, in force here")
    replace_private(config.manifest_file, raw)
    return {
        "installed": "manifest",
        "version": manifest.version,
        "signers": len(manifest.signers),
        "projects": [project.name for project in manifest.projects],
    }


def _install_root(config: CoordinatorConfig, raw: bytes) -> dict[str, object]:
    roots = _roots(config)
    try:
        federation, new = read_succession(raw, roots)
    except NotOfTheRoot as fault:
        raise Refused(f"{fault}: it is not of this federation") from fault
    if federation != config.federation:
        raise Refused(f"this root is of the federation {federation}")
    if new not in roots:
        both = b"".join(root.public_bytes(Encoding.PEM) for root in [*roots, new])
        replace_private(config.keys / "roots.crt", both)
    return {"installed": "root", "fingerprint": fingerprint(new)}


def _roots(config: CoordinatorConfig) -> list[x509.Certificate]:
    try:
        return read_roots(read_private(config.keys / "roots.crt"))
    except ValueError as fault:
        raise ConfigurationFault(f"{config.keys / 'roots.crt'}: {fault}: restore it") from fault


def _key_of(config: CoordinatorConfig, made: x509.Certificate) -> bytes:
    """Return the private key that the intermediate is for, as it lies here."""
    for name in (NEXT_KEY, "issuing.key"):
        file = config.keys / name
        if not file.exists():
            continue
        pem = read_private(file)
        if load_pem_private_key(pem, None).public_key() == made.public_key():
            return pem
    raise ConfigurationFault("this intermediate is for a key that is not here: ask for it again")
