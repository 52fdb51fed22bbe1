"""What the settings may say of commitment and certificates."""

import pytest
from pydantic import ValidationError

from gateway.config import Intake, IntakeTls, Peer

PIN = "AB:" * 31 + "CD"
TLS = {"certificate": "a.crt", "private_key": "a.key"}


def test_a_fingerprint_is_taken_as_openssl_prints_it():
    assert Peer(name="ct", ae_title="CT1", certificate_sha256=[PIN]).certificate_sha256 == (
        "ab" * 31 + "cd",
    )


@pytest.mark.parametrize("pin", ["", "abcd", "x" * 64, 5])
def test_what_is_no_fingerprint_is_refused(pin):
    with pytest.raises(ValidationError):
        Peer(name="ct", ae_title="CT1", certificate_sha256=[pin])


@pytest.mark.parametrize("tls", [None, IntakeTls(**TLS)])
def test_a_pin_nobody_could_meet_is_refused(tls):
    pinned = Peer(name="ct", ae_title="CT1", certificate_sha256=[PIN])

    with pytest.raises(ValidationError, match="client_ca"):
        Intake(peers=(pinned,), tls=tls)
    assert Intake(peers=(pinned,), tls=IntakeTls(**TLS, client_ca="ca.crt"))


@pytest.mark.parametrize("where", [{}, {"host": "ct1"}, {"port": 104}, {"host": "ct1", "port": 0}])
def test_commitment_needs_a_place_to_report_to(where):
    with pytest.raises(ValidationError, match="host"):
        Peer(name="ct", ae_title="CT1", commitment=True, **where)
