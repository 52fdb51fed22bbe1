"""The federation's certificates: root, issuing intermediate, and every leaf they carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coordinator.errors import ConfigurationFault, InvalidRequest, Unauthenticated
from coordinator.model import Caller
from protos.identity import Identity

ROOT_DAYS = 20 * 365
ISSUING_DAYS = 5 * 365
SERVER_DAYS = 397  # what clients' libraries take at the most
CREDENTIAL_DAYS = 365
CLOCK_TOLERANCE = timedelta(minutes=5)  # a hospital's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Keyed:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def certificate_der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def key_der(self) -> bytes:
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def load_keyed(certificate_pem: bytes, key_pem: bytes) -> Keyed:
    """Read an authority from its two files; they must belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = load_pem_private_key(key_pem, password=None)
    except ValueError as fault:
        raise ConfigurationFault("a certificate or key file is damaged: restore it") from fault
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationFault("a key does not belong to its certificate: restore both")
    return Keyed(certificate, key)


def make_root(federation: str, now: datetime) -> Keyed:
    """Make the offline root: it signs issuing intermediates and statements, and no leaf."""
    key = generate_private_key(SECP256R1())
    name = _name(f"{federation} root")
    builder = _authority(name, name, key.public_key(), now, ROOT_DAYS, path_length=1, signs=True)
    return Keyed(builder.sign(key, SHA256()), key)


def make_issuing(root: Keyed, federation: str, now: datetime) -> Keyed:
    """Make the intermediate that stays with the coordinator and signs leaves."""
    key = generate_private_key(SECP256R1())
    return Keyed(sign_issuing(root, key.public_key(), federation, now), key)


def request_issuing(key: EllipticCurvePrivateKey, federation: str) -> bytes:
    """Ask the root for an intermediate: what the coordinator sends to the custodians, PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(f"{federation} issuing"))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def sign_issuing(
    root: Keyed, key: EllipticCurvePublicKey, federation: str, now: datetime
) -> x509.Certificate:
    """Certify an intermediate that signs leaves and no further authority (path length 0)."""
    builder = _authority(
        _name(f"{federation} issuing"), root.certificate.subject, key, now, ISSUING_DAYS, 0
    )
    return builder.add_extension(_issuer_key(root), critical=False).sign(root.key, SHA256())


def issue_server(issuing: Keyed, identity: Identity, hosts: Sequence[str], now: datetime) -> Keyed:
    """Make the coordinator's own certificate: its SPIFFE name and each host or address it has."""
    key = generate_private_key(SECP256R1())
    names = [x509.UniformResourceIdentifier(identity.uri), *map(_host, dict.fromkeys(hosts))]
    certificate = _leaf(
        issuing, identity, key.public_key(), names, now, timedelta(days=SERVER_DAYS), server=True
    )
    return Keyed(certificate, key)


def issue_credential(
    issuing: Keyed, identity: Identity, now: datetime, life: timedelta, organisation: str = ""
) -> Keyed:
    """Make a person's, or an invitation's, certificate with its key."""
    key = generate_private_key(SECP256R1())
    names = [x509.UniformResourceIdentifier(identity.uri)]
    made = _leaf(issuing, identity, key.public_key(), names, now, life, organisation=organisation)
    return Keyed(made, key)


def sign_request(
    issuing: Keyed, csr_der: bytes, identity: Identity, now: datetime, life: timedelta
) -> x509.Certificate:
    """Sign a gateway's key; its name comes from the invitation, never from the request."""
    try:
        key = requested_key(x509.load_der_x509_csr(csr_der))
    except (ValueError, InvalidSignature) as fault:
        raise InvalidRequest("the certificate request is damaged") from fault
    names = [x509.UniformResourceIdentifier(identity.uri)]
    return _leaf(issuing, identity, key, names, now, life)


def requested_key(request: x509.CertificateSigningRequest) -> EllipticCurvePublicKey:
    """Return the key of a request that its own key signed."""
    key = request.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidRequest("the key of a certificate request is on the curve P-256")
    if not request.is_signature_valid:
        raise InvalidRequest("the certificate request is not signed by its own key")
    return key


def read_caller(certificate_pem: bytes) -> Caller:
    """Read who a client certificate names: exactly one URI, and it is one of ours."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        identity = Identity.parse(uri)
    except (ValueError, x509.ExtensionNotFound) as fault:
        raise Unauthenticated("the certificate names nobody of this federation") from fault
    organisations = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return Caller(
        identity,
        serial=serial_of(certificate),
        not_after=certificate.not_valid_after_utc.timestamp(),
        organisation="".join(str(o.value) for o in organisations),
    )


def is_issued_by(authority: x509.Certificate, root: x509.Certificate) -> bool:
    """Say whether a root signed this, as an authority."""
    try:
        authority.verify_directly_issued_by(root)
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.ca


def serial_of(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _leaf(
    issuing: Keyed,
    identity: Identity,
    key: EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    now: datetime,
    life: timedelta,
    *,
    server: bool = False,
    organisation: str = "",
) -> x509.Certificate:
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    return (
        _dated(now, life)
        .subject_name(_name(identity.name, organisation))
        .issuer_name(issuing.certificate.subject)
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False, signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_issuer_key(issuing), critical=False)
        .sign(issuing.key, SHA256())
    )


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    now: datetime,
    days: int,
    path_length: int,
    *,
    signs: bool = False,
) -> x509.CertificateBuilder:
    return (
        _dated(now, timedelta(days=days))
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(authority=True, signs=signs), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _dated(now: datetime, life: timedelta) -> x509.CertificateBuilder:
    start, tolerance = now.astimezone(UTC), min(CLOCK_TOLERANCE, life / 10)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - tolerance)
        .not_valid_after(start + life)
    )


def _usage(*, authority: bool, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(issuer: Keyed) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _name(text: str, organisation: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, text[:64])]
    if organisation:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)
