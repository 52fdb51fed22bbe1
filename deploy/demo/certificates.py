"""A hospital's own small CA for DICOM TLS: one certificate for the gateway, one for the PACS."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.demo.files import write_private

LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Credential:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class HospitalTls:
    """The files a gateway's DICOM door and the PACS in front of it need."""

    ca: Path
    gateway: Credential
    pacs: Credential


def make_hospital_tls(directory: Path, hospital: str) -> HospitalTls:
    """Make a CA and two leaves; the CA's key is thrown away."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{hospital} DICOM CA")
    root = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    ca = directory / "ca.crt"
    ca.write_bytes(root.public_bytes(Encoding.PEM))
    leaves = [
        _leaf(directory, root, key, who) for who in (f"{hospital} gateway", f"{hospital} PACS")
    ]
    return HospitalTls(ca, *leaves)


def _leaf(
    directory: Path, root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, who: str
) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf = (
        _builder(_name(who), root.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([local]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .sign(root_key, SHA256())
    )
    stem = who.rpartition(" ")[2].lower()
    credential = Credential(directory / f"{stem}.crt", directory / f"{stem}.key")
    credential.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(credential.key, private)
    return credential


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )
