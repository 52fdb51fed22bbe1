"""The files below `keys`, read and checked together."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from coordinator.app.setup import load_issuing
from coordinator.config import CoordinatorConfig, read_private, write_private
from coordinator.errors import ConfigurationFault, EnvironmentFault
from coordinator.federation.fleet import Authority
from coordinator.registry.certificates import is_issued_by
from protos.root import read_roots


@dataclass(frozen=True, slots=True)
class Keys:
    """The files below `keys`, read and checked."""

    authority: Authority
    server_key: bytes
    server_chain: bytes


def checkpoint_key(config: CoordinatorConfig) -> Ed25519PrivateKey:
    """Read the key that signs this house's checkpoints; make it where there is none yet."""
    path = config.keys / "checkpoint.key"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(path, pem)
    try:
        key = load_pem_private_key(read_private(path), None)
    except ValueError as fault:
        raise ConfigurationFault(f"{path} is no key: restore it") from fault
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationFault(f"{path} is no Ed25519 key: restore it")
    return key


def load_keys(config: CoordinatorConfig, now: float) -> Keys:
    """Read every key; ConfigurationFault names the file that is missing, open or outdated."""
    issuing = load_issuing(config)
    server_key = read_private(config.keys / "server.key")
    server_chain = read_private(config.keys / "server.crt")
    roots = read_private(config.keys / "roots.crt")
    try:
        # The one root of several, while hospitals move to a new one, that signed what is in force.
        (root,) = (root for root in read_roots(roots) if is_issued_by(issuing.certificate, root))
        server = x509.load_pem_x509_certificates(server_chain)[0]
    except (ValueError, TypeError, IndexError) as fault:
        raise ConfigurationFault(
            f"the certificates in {config.keys} do not belong together: restore them"
        ) from fault
    for name, certificate in (("server.crt", server), ("issuing.crt", issuing.certificate)):
        if certificate.not_valid_after_utc.timestamp() <= now:
            raise ConfigurationFault(f"{config.keys / name} has run out: make a new one")
        if certificate.not_valid_before_utc.timestamp() > now:
            raise EnvironmentFault(f"{config.keys / name} is not valid yet: check this clock")
    authority = Authority(
        federation=config.federation,
        address=config.listen.public_address,
        issuing=issuing,
        root_der=root.public_bytes(Encoding.DER),
        roots_pem=roots,
    )
    return Keys(authority, server_key, server_chain)
