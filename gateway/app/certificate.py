"""A self-signed certificate for the DICOM-over-TLS port of a hospital without a CA of its own."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from socket import gethostname

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

VALID = timedelta(days=3650)


def self_signed(site: str, host: str) -> tuple[bytes, bytes]:
    """Return (certificate, private key), PEM, over a P-256 key (BCP 195)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"radfed {site}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
    ]
    hostname = gethostname()
    if hostname.isascii() and hostname != "localhost":
        names.append(x509.DNSName(hostname))
    try:
        address = ip_address(host)
    except ValueError:
        return [*names, x509.DNSName(host)]
    return (
        names
        if address.is_unspecified or address.is_loopback
        else [*names, x509.IPAddress(address)]
    )
