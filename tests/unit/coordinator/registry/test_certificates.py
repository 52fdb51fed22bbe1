from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.errors import ConfigurationFault, InvalidRequest, Unauthenticated
from coordinator.registry.certificates import (
    issue_credential,
    issue_server,
    load_keyed,
    make_issuing,
    make_root,
    read_caller,
    sign_request,
)
from protos.identity import Identity, Role

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT = make_root("demo", NOW)
ISSUING = make_issuing(ROOT, "demo", NOW)
ALPHA = Identity("demo", Role.GATEWAY, "alpha")


def a_request(key, name: str = "whoever") -> x509.CertificateSigningRequestBuilder:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())


def test_the_root_signs_authorities_and_the_intermediate_signs_leaves_only():
    for certificate, length in ((ROOT.certificate, 1), (ISSUING.certificate, 0)):
        limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, length)
    ISSUING.certificate.verify_directly_issued_by(ROOT.certificate)


def test_a_gateway_is_who_its_invitation_names_whatever_it_asks_for():
    key = ec.generate_private_key(ec.SECP256R1())
    request = a_request(key, "spiffe://demo/operator/root").public_bytes(Encoding.DER)

    leaf = sign_request(ISSUING, request, ALPHA, NOW, timedelta(days=30))

    caller = read_caller(leaf.public_bytes(Encoding.PEM))
    assert caller.identity == ALPHA
    assert caller.not_after == (NOW + timedelta(days=30)).timestamp()
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(ISSUING.certificate)


@pytest.mark.parametrize(
    "request_der",
    [
        b"",
        b"\x30\x82junk",
        a_request(rsa.generate_private_key(65537, 2048)).public_bytes(Encoding.DER),
        a_request(ec.generate_private_key(ec.SECP384R1())).public_bytes(Encoding.DER),
    ],
)
def test_a_request_that_is_not_a_p256_key_is_refused(request_der):
    with pytest.raises(InvalidRequest):
        sign_request(ISSUING, request_der, ALPHA, NOW, timedelta(days=1))


def test_a_request_signed_by_another_key_is_refused():
    request = bytearray(
        a_request(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
    )
    request[request.index(b"whoever")] ^= 1

    with pytest.raises(InvalidRequest):
        sign_request(ISSUING, bytes(request), ALPHA, NOW, timedelta(days=1))


def test_the_server_answers_to_every_name_and_address_it_was_given():
    identity = Identity("demo", Role.COORDINATOR, "coordinator")

    server = issue_server(ISSUING, identity, ["radfed.example", "10.1.2.3", "[::1]"], NOW)

    names = server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["radfed.example"]
    assert names.value.get_values_for_type(x509.IPAddress) == [
        ip_address("10.1.2.3"),
        ip_address("::1"),
    ]
    assert read_caller(server.certificate_pem).identity.role is Role.COORDINATOR


@pytest.mark.parametrize(
    "names",
    [
        [],
        [x509.UniformResourceIdentifier("https://radfed.example")],
        [x509.UniformResourceIdentifier("spiffe://demo/king/alpha")],
        [
            x509.UniformResourceIdentifier("spiffe://demo/gateway/alpha"),
            x509.UniformResourceIdentifier("spiffe://demo/gateway/beta"),
        ],
    ],
)
def test_a_certificate_names_exactly_one_of_us_or_nobody(names):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ISSUING.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(ISSUING.key, SHA256()).public_bytes(Encoding.PEM)

    with pytest.raises(Unauthenticated):
        read_caller(pem)


def test_a_key_of_another_certificate_is_refused():
    other = issue_credential(ISSUING, ALPHA, NOW, timedelta(days=1))

    with pytest.raises(ConfigurationFault):
        load_keyed(ISSUING.certificate_pem, other.key_pem)
