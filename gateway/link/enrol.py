"""Enrolment: one token, one command; the key is made here and never leaves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault, PeerUnreachable, Refused
from gateway.keys import read_private, write_private
from gateway.link.channel import refusal_of, secure_channel, wire_bytes
from gateway.link.credentials import (
    CHAIN,
    COORDINATOR,
    KEY,
    RENEWAL,
    Credentials,
    clock,
    identity_of,
    require_chain,
    require_mine,
)
from gateway.link.probe import diagnose
from gateway.link.proxy import Proxy, proxy_for
from gateway.release.gate import Gate, Released
from gateway.trust import Pins
from protos.identity import Identity, Invitation, Role
from protos.root import fingerprint, require_root
from protos.v1 import enrolment_pb2

METHOD = "/radfed.v1.EnrolmentService/Enrol"
PENDING = "gateway.key.pending"
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Guest:
    """What the token says, checked as far as it can be here."""

    invitation: Invitation
    federation: str
    chain_pem: bytes
    key_pem: bytes
    root: x509.Certificate


def enrol(
    token: str,
    config: GatewayConfig,
    gate: Gate,
    version: str,
    approved_by: str,
    *,
    force: bool = False,
) -> Credentials:
    """Trade an invitation for this gateway's own certificate."""
    if Credentials.load(config.keys_dir) is not None and not force:
        raise Refused(
            "this gateway is enrolled already: use --force to replace its identity for good"
        )
    guest = read_token(token, config.site, clock())
    pins = Pins(config.roots_file, config.manifest_file)
    require_pinned(guest, pins)
    key = _pending_key(config.keys_dir)
    request = certificate_request(key, config.site, guest.federation)
    released = gate.enrolment(request, version, approved_by)
    proxy = proxy_for(config.federation.proxy, guest.invitation.address)
    response = _call(guest, released, config.keys_dir, proxy)
    chain = _checked(response, guest, key, config.site)
    pins.pin_root(guest.root)
    _write(config.keys_dir, chain, guest, response.renewal_chain_pem)
    if response.manifest:
        with suppress(Refused):  # `policy check` says that none is pinned; all else is refused
            pins.take_manifest(response.manifest)
    credentials = Credentials.load(config.keys_dir)
    assert credentials is not None
    return credentials


def read_token(token: str, site: str, now: datetime) -> Guest:
    try:
        invitation = Invitation.decode(token)
        certificate = x509.load_der_x509_certificate(invitation.certificate_der)
        issuer = x509.load_der_x509_certificate(invitation.issuer_der)
        root = x509.load_der_x509_certificate(invitation.root_certificate_der)
        key = serialization.load_der_private_key(invitation.private_key_der, None)
        identity = identity_of(certificate)
    except ValueError as fault:
        raise ConfigurationFault(
            "the invitation token is damaged: copy it once more, all of it"
        ) from fault
    if identity.role is not Role.INVITATION:
        raise Refused("this token is no invitation: ask the federation for one")
    if invitation.site_name != site:
        raise ConfigurationFault(
            f"the invitation is for `{invitation.site_name}` and this gateway is `{site}`: "
            "use the token meant for it, or set `site` in gateway.toml"
        )
    if now > certificate.not_valid_after_utc:
        raise Refused(
            f"the invitation expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: "
            "ask the federation for another"
        )
    if now < certificate.not_valid_before_utc:
        raise Refused("the invitation is not valid yet: check this machine's clock")
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Guest(invitation, identity.federation, _pem(certificate) + _pem(issuer), key_pem, root)


def _pending_key(keys: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key of an enrolment whose answer was lost, or make one.

    The coordinator signs the same key again for the same invitation, so a cut in the middle costs
    nothing. P-256, because gRPC's TLS refuses Ed25519 leaves.
    """
    pending = keys / PENDING
    if pending.exists():
        found = serialization.load_pem_private_key(read_private(pending), None)
        if isinstance(found, ec.EllipticCurvePrivateKey):
            return found
    key = ec.generate_private_key(ec.SECP256R1())
    pending.unlink(missing_ok=True)
    write_private(
        pending,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return key


def certificate_request(key: ec.EllipticCurvePrivateKey, site: str, federation: str) -> bytes:
    """Make the certificate request (RFC 2986): a public key and a name, nothing else."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    uri = x509.UniformResourceIdentifier(Identity(federation, Role.GATEWAY, site).uri)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.DER)


def _call(
    guest: Guest, released: Released, keys: Path, proxy: Proxy | None
) -> enrolment_pb2.EnrolResponse:
    address, roots = guest.invitation.address, _pem(guest.root)
    with secure_channel(address, roots, guest.key_pem, guest.chain_pem, proxy) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=wire_bytes,
            response_deserializer=enrolment_pb2.EnrolResponse.FromString,
        )
        try:
            response: enrolment_pb2.EnrolResponse = call(released, timeout=SECONDS)
        except grpc.RpcError as fault:
            status, text = refusal_of(fault)
            if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise _unreached(guest, keys, proxy) from fault
            raise Refused(
                f"the coordinator refuses this invitation ({text or status.name.lower()}): "
                "it can be used once; ask the federation for another"
            ) from fault
    return response


def _unreached(guest: Guest, keys: Path, proxy: Proxy | None) -> Exception:
    """Say why the coordinator could not be reached, by a handshake as the invited guest."""
    with guest_credentials(guest, keys) as credentials:
        found = diagnose(credentials, clock(), proxy)
    address = guest.invitation.address
    return found or PeerUnreachable(f"the coordinator at {address} answers and then does not")


@contextmanager
def guest_credentials(guest: Guest, keys: Path) -> Iterator[Credentials]:
    """Lend the token's own certificate the form of a gateway's; nothing of it stays."""
    draft = keys / ".guest"
    draft.mkdir(parents=True, exist_ok=True, mode=0o700)
    address = guest.invitation.address
    try:
        (draft / KEY).unlink(missing_ok=True)
        write_private(draft / KEY, guest.key_pem)
        (draft / CHAIN).write_bytes(guest.chain_pem)
        leaf = x509.load_pem_x509_certificates(guest.chain_pem)[0]
        yield Credentials(
            draft,
            address,
            identity_of(leaf),
            leaf.not_valid_after_utc,
            guest.chain_pem,
            _pem(guest.root),
        )
    finally:
        for name in (KEY, CHAIN):
            (draft / name).unlink(missing_ok=True)
        draft.rmdir()


def _checked(
    response: enrolment_pb2.EnrolResponse, guest: Guest, key: ec.EllipticCurvePrivateKey, site: str
) -> list[x509.Certificate]:
    """Believe nothing that came back but what leads to the root in the token."""
    try:
        chain = x509.load_pem_x509_certificates(response.certificate_chain_pem)
        roots = x509.load_pem_x509_certificates(response.root_certificates_pem)
    except ValueError as fault:
        raise Refused("what came back are no certificates: nothing was enrolled") from fault
    if chain[0].public_key() != key.public_key() or guest.root not in roots:
        raise Refused("the certificate that came back is not for this key or this federation")
    require_chain(chain, [guest.root], clock())
    require_mine(chain[0], site, guest.federation)
    return chain


def require_pinned(guest: Guest, pins: Pins) -> None:
    """Believe a token's root where none is pinned yet, and later only those that are."""
    try:
        require_root(guest.root)
    except ValueError as fault:
        raise Refused(f"the token's root is none: {fault}") from fault
    if (roots := pins.roots()) and guest.root not in roots:
        raise Refused(
            f"this token is of another root ({fingerprint(guest.root)[:16]}...) than the pinned "
            f"one ({fingerprint(roots[0])[:16]}...): it is another federation's, or forged; a new "
            "root is pinned by `radfed gateway policy pin`"
        )


def _write(keys: Path, chain: list[x509.Certificate], guest: Guest, renewal_pem: bytes) -> None:
    """Replace the identity; the chain comes last, for with it the gateway counts as enrolled."""
    for old in (CHAIN, RENEWAL):
        (keys / old).unlink(missing_ok=True)
    (keys / PENDING).replace(keys / KEY)
    if renewal_pem:  # an older coordinator gives none
        _replace(keys / RENEWAL, renewal_pem)
    _replace(keys / COORDINATOR, json.dumps({"address": guest.invitation.address}).encode())
    _replace(keys / CHAIN, b"".join(map(_pem, chain)))


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    write_private(path, content)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
