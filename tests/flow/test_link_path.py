"""The path to the coordinator, as preflight proves it: proxy, TLS, clock, token."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from coordinator.api.client import Federation as Client
from coordinator.registry import certificates as pki
from gateway.config import Federation, GatewayConfig
from gateway.errors import ConfigurationFault, PeerUnreachable, Refused
from gateway.link import asking, proxy
from gateway.link.asking import ask, prove_token
from gateway.link.credentials import Credentials
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.link.probe import probe
from protos.identity import Identity, Role
from tests.fakes.connect_proxy import a_proxy
from tests.fakes.coordinator_server import Authority, FakeCoordinator
from tests.fakes.desk_line import FakeDesk
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital

pytestmark = pytest.mark.flow


@pytest.fixture
def hospital(tmp_path):
    return Hospital(tmp_path / "site", site="hospital-a")


def settings(hospital, **federation):
    return GatewayConfig(
        site="hospital-a", data=hospital.directory, federation=Federation(**federation)
    )


def test_everything_goes_through_the_proxy_of_the_settings(hospital):
    with FakeCoordinator() as coordinator, a_proxy(password="user:pass") as way:
        config = settings(hospital, proxy=way.address.replace("//", "//user:pass@"))
        credentials = enrol(coordinator.invite("hospital-a"), config, hospital.gate, "1.0", "admin")
        says = probe(credentials, config)
        desk = FakeDesk(hospital.directory / "objects")
        link = Link(
            credentials, config.federation, hospital.gate, desk,
            hospital.directory / "link.json", "1.0",
        )  # fmt: skip
        stop = Event()
        runs = Thread(target=link.run, args=(stop,))
        runs.start()
        deadline = monotonic() + 10
        while not link.is_connected:
            assert monotonic() < deadline
            sleep(0.02)
        stop.set()
        runs.join(10)
        heard = coordinator.bytes_heard()

    assert f"through the proxy 127.0.0.1:{way.port} of the settings" in says
    assert "pass" not in says
    assert set(way.tunnels) == {coordinator.address}
    assert len(way.tunnels) >= 3
    assert hospital.ledger.total_bytes() == heard


@pytest.mark.parametrize(
    ("wishes", "says"), [({"password": "a:b"}, "USER:PASSWORD"), ({"refuse": 403}, "says 403")]
)
def test_a_proxy_that_lets_nobody_through_says_so(hospital, wishes, says):
    with FakeCoordinator() as coordinator, a_proxy(**wishes) as way:
        config = settings(hospital, proxy=way.address)

        with pytest.raises(PeerUnreachable, match=says):
            enrol(coordinator.invite("hospital-a"), config, hospital.gate, "1.0", "admin")


def test_the_environments_proxy_is_used_but_not_for_what_it_excepts(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:8080")
    monkeypatch.setenv("no_proxy", "centre.example")

    assert str(proxy.proxy_for(None, "other.example:443")) == "proxy.example:8080"
    assert proxy.proxy_for(None, "centre.example:443") is None
    assert str(proxy.proxy_for("http://mine:1", "centre.example:443")) == "mine:1"
    for wrong in ("https://mine:1", "http://", "http://mine:port"):
        with pytest.raises(ConfigurationFault, match="the settings"):
            proxy.proxy_for(wrong, "centre.example:443")


def test_whoever_opens_tls_on_the_way_is_named(hospital, tmp_path):
    with FakeCoordinator() as coordinator:
        config = settings(hospital)
        token = coordinator.invite("hospital-a")
        credentials = enrol(token, config, hospital.gate, "1.0", "admin")
    now = datetime.now(UTC)
    inspector = pki.make_root("inspecting firewall", now)
    shown = pki.issue_server(
        inspector, Identity("testfed", Role.COORDINATOR, "hub"), ["127.0.0.1"], now
    )
    (tmp_path / "chain").write_bytes(shown.certificate_pem)
    (tmp_path / "key").write_bytes(shown.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_shake_hands, args=(listener, context), daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        moved = Credentials(
            credentials.directory, address, credentials.identity, credentials.not_after,
            credentials.chain_pem, credentials.roots_pem,
        )  # fmt: skip

        with pytest.raises(Refused, match=r"CN=inspecting firewall root.*opens TLS"):
            probe(moved, config)


def _shake_hands(listener, context):
    from contextlib import suppress

    while True:
        with suppress(OSError):
            client, _ = listener.accept()
            context.wrap_socket(client, server_side=True).close()
        if listener.fileno() < 0:
            return


def test_a_leaf_of_the_root_that_is_no_coordinator_is_no_coordinator(hospital):
    """A hospital cannot play the hub for another: its certificate says what it is."""

    class Usurper(Authority):
        def server(self, hosts=("127.0.0.1", "localhost")):
            gateway = Identity("testfed", Role.GATEWAY, "hospital-b")
            return pki.issue_server(self.issuing, gateway, hosts, self.now)

    with FakeCoordinator(Usurper()) as coordinator:
        config = settings(hospital)
        token = coordinator.invite("hospital-a")
        with pytest.raises(Refused, match="hospital-b and no coordinator"):
            prove_token(token, config, hospital.gate)


def beside_a_coordinator(tmp_path, story):
    async def run():
        async with a_federation(tmp_path / "hub") as federation:
            token = await federation.invited("hospital-a")
            await asyncio.to_thread(story, federation, token)

    asyncio.run(run())


def test_a_token_is_proved_without_being_used(tmp_path, hospital):
    def story(federation, token):
        config = settings(hospital)
        says = prove_token(token, config, hospital.gate)
        assert "opens the way to spiffe://demo/coordinator/coordinator" in says
        assert "invited there" in says
        credentials = enrol(token, config, hospital.gate, "1.0", "admin")
        assert "hospital-a is active there" in ask(credentials, config, hospital.gate)
        with pytest.raises(Refused, match="used before"):
            prove_token(token, config, hospital.gate)
        with Client(federation.credential) as client:
            client.suspend("hospital-a")
        with pytest.raises(Refused, match="suspended hospital-a"):
            ask(credentials, config, hospital.gate)

    beside_a_coordinator(tmp_path, story)


def test_a_wrong_clock_is_named_with_its_cure(tmp_path, hospital, monkeypatch):
    def story(_federation, token):
        config = settings(hospital)
        credentials = enrol(token, config, hospital.gate, "1.0", "admin")
        late = lambda: datetime.now(UTC) - timedelta(minutes=10)  # noqa: E731 - a clock
        monkeypatch.setattr(asking, "clock", late)

        with pytest.raises(ConfigurationFault, match=r"600 s behind .* NTP"):
            ask(credentials, config, hospital.gate)

    beside_a_coordinator(tmp_path, story)
