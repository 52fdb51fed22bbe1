"""Who this gateway is to its federation: key, chain, roots and the coordinator's address."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification

from gateway.errors import ConfigurationFault, IntegrityFault, Refused
from gateway.keys import read_private
from protos.identity import Identity, Role

KEY, CHAIN, ROOTS, COORDINATOR = "gateway.key", "gateway.crt", "roots.crt", "coordinator.json"
RENEWAL = "renewal.crt"  # for the same key: may renew, and nothing else
LIFE_BEFORE_RENEWAL = 2 / 3


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything mutual TLS needs. The key is read here and handed to gRPC and ssl alone."""

    directory: Path
    address: str  # host:port
    identity: Identity
    not_after: datetime
    chain_pem: bytes
    roots_pem: bytes

    @property
    def key_file(self) -> Path:
        return self.directory / KEY

    @property
    def chain_file(self) -> Path:
        return self.directory / CHAIN

    @property
    def roots_file(self) -> Path:
        return self.directory / ROOTS

    @property
    def renews_at(self) -> datetime:
        """Return when the next certificate is asked for, long before this one ends."""
        leaf = x509.load_pem_x509_certificates(self.chain_pem)[0]
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        return leaf.not_valid_before_utc + life * LIFE_BEFORE_RENEWAL

    def key_pem(self) -> bytes:
        return read_private(self.key_file)

    def require_current(self, now: datetime) -> None:
        if now > self.not_after:
            raise Refused(
                f"this gateway's certificate expired on {self.not_after:%Y-%m-%d %H:%M} UTC: "
                "a running gateway renews it by itself; see its log where it does not"
            )

    @classmethod
    def load(cls, directory: Path) -> "Credentials | None":
        """Read what enrolment wrote; None before it."""
        chain_file = directory / CHAIN
        if not chain_file.exists():
            return None
        try:
            chain_pem = chain_file.read_bytes()
            roots_pem = (directory / ROOTS).read_bytes()
            address = json.loads((directory / COORDINATOR).read_text("utf-8"))["address"]
            leaf = x509.load_pem_x509_certificates(chain_pem)[0]
            identity = identity_of(leaf)
        except FileNotFoundError as fault:
            raise ConfigurationFault(f"{fault.filename} is missing: enrol again") from fault
        except (ValueError, KeyError, IndexError) as fault:
            raise IntegrityFault(
                f"the certificates in {directory} cannot be read: enrol again"
            ) from fault
        key = serialization.load_pem_private_key(read_private(directory / KEY), None)
        if key.public_key() != leaf.public_key():
            raise IntegrityFault(
                f"{directory / KEY} does not belong to {chain_file}: restore both, or enrol again"
            )
        return cls(
            directory, str(address), identity, leaf.not_valid_after_utc, chain_pem, roots_pem
        )


def identity_of(certificate: x509.Certificate) -> Identity:
    """Return a certificate's one SPIFFE-style name; ValueError when there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as fault:
        raise ValueError("the certificate names nobody") from fault
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier) or ("",)
    return Identity.parse(uri)


def require_chain(
    chain: list[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> None:
    """Check that a leaf leads to one of the roots (RFC 5280 6.1); Refused when it does not."""
    store = verification.Store(roots)
    try:
        verifier = verification.PolicyBuilder().store(store).time(now).build_client_verifier()
        verifier.verify(chain[0], chain[1:])
    except verification.VerificationError as fault:
        raise Refused(
            "the certificate that came back does not lead to the federation's root: "
            "nothing was enrolled; report it to the federation"
        ) from fault


def require_mine(leaf: x509.Certificate, site: str, federation: str) -> None:
    """Check that a certificate names this site as a gateway of this federation."""
    try:
        identity = identity_of(leaf)
    except ValueError as fault:
        raise Refused("the certificate that came back has no identity of ours") from fault
    if identity != Identity(federation, Role.GATEWAY, site):
        raise Refused(f"the certificate that came back is for {identity.uri}, not for this site")


def clock() -> datetime:
    return datetime.now(UTC)
