"""DICOM over TLS: dcmtk and pynetdicom against the TLS port."""

import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydicom.data import get_testdata_file

from gateway.config import IntakeTls, Peer
from gateway.errors import ConfigurationFault, PeerUnreachable
from gateway.intake.echo import echo
from gateway.intake.sockets import tls_context
from tests.fakes.custody import FakeCustody
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
CT = get_testdata_file("CT_small.dcm")


def certify(directory: Path, name: str, issuer=None):
    """Write NAME.crt and NAME.key; self-signed, or signed by an issuer made the same way."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority, authority_key = issuer or (subject, key)
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder(authority, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, SHA256())
    )
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return subject, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    authority = certify(directory, "authority")
    certify(directory, "gateway", authority)
    certify(directory, "modality", authority)
    certify(directory, "stranger")
    return directory


def tls(certificates, *, mutual=False):
    return IntakeTls(
        port=0,
        certificate=certificates / "gateway.crt",
        private_key=certificates / "gateway.key",
        client_ca=certificates / "authority.crt" if mutual else None,
    )


def send(program, port, *options, files=()):
    command = [program, "-v", "-aec", "RADFED", *map(str, options), "127.0.0.1", str(port), *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_dcmtk_stores_over_tls_without_a_certificate_of_its_own(certificates):
    custody = FakeCustody()

    with a_receiver(custody, tls=tls(certificates)) as door:
        options = ["+tla", "+cf", certificates / "authority.crt"]
        answer = send("storescu", door.tls_port, *options, files=[CT])

    assert answer.returncode == 0, answer.stderr
    assert len(custody.held) == 1


def test_dcmtk_shows_its_certificate_where_one_is_demanded(certificates):
    custody = FakeCustody()
    ours = ["+tls", certificates / "modality.key", certificates / "modality.crt"]
    trust = ["+cf", certificates / "authority.crt"]

    with a_receiver(custody, tls=tls(certificates, mutual=True)) as door:
        known = send("storescu", door.tls_port, *ours, *trust, files=[CT])
        nameless = send("storescu", door.tls_port, "+tla", *trust, files=[CT])
        eventually(lambda: door.seen("connection_lost"))

    assert known.returncode == 0, known.stderr
    assert nameless.returncode != 0
    assert len(custody.held) == 1


def test_a_client_certificate_of_another_authority_is_refused(certificates):
    custody = FakeCustody()
    theirs = ["+tls", certificates / "stranger.key", certificates / "stranger.crt"]

    with a_receiver(custody, tls=tls(certificates, mutual=True)) as door:
        answer = send(
            "storescu",
            door.tls_port,
            *theirs,
            *["+cf", certificates / "authority.crt"],
            files=[CT],
        )

    assert answer.returncode != 0
    assert not custody.held


@pytest.mark.parametrize(
    ("version", "welcome"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_only_tls_1_2_and_1_3_are_spoken(certificates, version, welcome):
    context = ssl.create_default_context(cafile=certificates / "authority.crt")
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")

    with (
        a_receiver(FakeCustody(), tls=tls(certificates)) as door,
        socket.create_connection(("127.0.0.1", door.tls_port)) as raw,
    ):
        try:
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as secured:
                spoken = secured.version() is not None
        except (ssl.SSLError, ConnectionError):
            spoken = False

    assert spoken is welcome


def test_plain_dicom_on_the_tls_port_gets_nowhere(certificates):
    with a_receiver(FakeCustody(), tls=tls(certificates)) as door:
        answer = send("echoscu", door.tls_port)

    assert answer.returncode != 0


def test_a_gateway_may_listen_on_tls_only(certificates):
    with a_receiver(FakeCustody(), port=None, tls=tls(certificates)) as door:
        options = ["+tla", "+cf", certificates / "authority.crt"]
        answer = send("echoscu", door.tls_port, *options)

    assert len(door.sockets) == 1
    assert answer.returncode == 0


def test_we_echo_over_tls_and_check_the_certificate(certificates):
    with a_receiver(FakeCustody(), tls=tls(certificates)) as door:
        peer = Peer(
            name="pacs",
            ae_title="RADFED",
            host="127.0.0.1",
            port=door.tls_port,
            tls=True,
            tls_ca=certificates / "authority.crt",
        )
        result = echo(peer, "PYNETDICOM", 5)
        with pytest.raises(PeerUnreachable, match="TLS"):
            echo(peer.model_copy(update={"tls_ca": certificates / "stranger.crt"}), "PYNETDICOM", 5)

    assert (result.status, result.tls) == (0, True)


def test_a_certificate_that_cannot_be_used_is_named(certificates, tmp_path):
    broken = IntakeTls(certificate=tmp_path / "none.crt", private_key=certificates / "gateway.key")

    with pytest.raises(ConfigurationFault, match=r"none\.crt"):
        tls_context(broken)
