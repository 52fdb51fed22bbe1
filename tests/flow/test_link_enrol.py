from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509 import load_der_x509_csr

from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault, PeerUnreachable, Refused
from gateway.link.credentials import Credentials
from gateway.link.enrol import enrol
from gateway.link.probe import probe
from gateway.policy import Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from protos.v1.enrolment_pb2 import EnrolRequest
from tests.fakes.coordinator_server import Authority, FakeCoordinator

pytestmark = pytest.mark.flow


@pytest.fixture
def site(tmp_path):
    return GatewayConfig(site="hospital-a", data=tmp_path / "data")


@pytest.fixture
def ledger(site):
    return Ledger.open(site.ledger_file)


@pytest.fixture
def gate(site, ledger):
    return Gate(Policy, ledger, UpdateShelf(site.desk_dir / "updates"), ())


def test_one_token_buys_a_certificate_for_a_key_made_here(site, gate, ledger):
    with FakeCoordinator() as coordinator:
        credentials = enrol(coordinator.invite("hospital-a"), site, gate, "1.0", "admin")
        says = probe(credentials, site)

    assert credentials.identity.uri == "spiffe://testfed/gateway/hospital-a"
    assert credentials.key_file.stat().st_mode & 0o777 == 0o600
    assert "valid until" in says
    assert ledger.total_bytes() == coordinator.bytes_heard()
    assert b"PRIVATE" not in coordinator.heard[0][1]


def test_a_token_works_once(site, gate):
    with FakeCoordinator() as coordinator:
        token = coordinator.invite("hospital-a")
        enrol(token, site, gate, "1.0", "admin")

        with pytest.raises(Refused, match="enrolled already"):
            enrol(token, site, gate, "1.0", "admin")
        with pytest.raises(Refused, match="used once"):
            enrol(token, site, gate, "1.0", "admin", force=True)

    assert Credentials.load(site.keys_dir) is not None


@pytest.mark.parametrize("harm", [lambda t: t[:-40], lambda t: "x" + t, lambda t: t[:90] + t[95:]])
def test_a_damaged_token_is_one_clear_sentence(site, gate, harm):
    token = Authority().invitation("hospital-a", "127.0.0.1:1")

    with pytest.raises(ConfigurationFault, match="damaged"):
        enrol(harm(token), site, gate, "1.0", "admin")


def test_an_expired_token_is_refused_before_anything_is_sent(site, gate, ledger):
    old = Authority(datetime.now(UTC) - timedelta(days=2))

    with pytest.raises(Refused, match="expired"):
        enrol(old.invitation("hospital-a", "127.0.0.1:1"), site, gate, "1.0", "admin")

    assert ledger.total_bytes() == 0


def test_another_hospitals_token_is_refused(site, gate):
    with pytest.raises(ConfigurationFault, match="hospital-b"):
        enrol(Authority().invitation("hospital-b", "127.0.0.1:1"), site, gate, "1.0", "admin")


def test_an_absent_coordinator_is_named(site, gate):
    token = Authority().invitation("hospital-a", "127.0.0.1:1")

    with pytest.raises(PeerUnreachable, match="firewall"):
        enrol(token, site, gate, "1.0", "admin")

    assert Credentials.load(site.keys_dir) is None


def test_an_enrolment_whose_answer_was_lost_goes_on_with_the_same_key(site, gate, ledger):
    with pytest.raises(PeerUnreachable):
        enrol(Authority().invitation("hospital-a", "127.0.0.1:1"), site, gate, "1.0", "admin")
    (first,) = ledger.entries()

    with FakeCoordinator() as coordinator:
        enrol(coordinator.invite("hospital-a"), site, gate, "1.0", "admin")

    lost, taken = (_public_key(ledger.payload(entry)) for entry in ledger.entries())
    assert first.kind == "enrolment"
    assert lost == taken


def _public_key(raw):
    return load_der_x509_csr(EnrolRequest.FromString(raw).csr_der).public_key()


def test_an_impostor_of_another_authority_gets_no_request(site, gate):
    with FakeCoordinator(Authority()) as impostor:
        token = Authority().invitation("hospital-a", impostor.address)

        with pytest.raises(Refused, match="another authority"):
            enrol(token, site, gate, "1.0", "admin")

    assert impostor.heard == []


def test_a_gateway_of_another_federation_is_told_so(site, gate):
    with FakeCoordinator() as home:
        credentials = enrol(home.invite("hospital-a"), site, gate, "1.0", "admin")
        # The same coordinator's certificate, but clients of another root are wanted.
        stranger = Authority()
    stranger.root_of_home = home.authority.root
    with _same_server_other_clients(home, stranger) as other:
        moved = Credentials(
            credentials.directory,
            other.address,
            credentials.identity,
            credentials.not_after,
            credentials.chain_pem,
            credentials.roots_pem,
        )

        with pytest.raises(Refused, match=r"refuses this gateway's certificate|hangs up"):
            probe(moved, site)


def _same_server_other_clients(home, stranger):
    class Mixed(Authority):
        def __init__(self):
            self.now = home.authority.now
            self.root = stranger.root
            self.issuing = home.authority.issuing

    return FakeCoordinator(Mixed())
