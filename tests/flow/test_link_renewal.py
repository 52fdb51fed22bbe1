"""A real gateway's link and a real coordinator: certificates end, hospitals are shut out."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from coordinator.api.client import Federation as Client
from coordinator.errors import WrongMoment
from gateway.config import Federation, GatewayConfig
from gateway.errors import Refused
from gateway.link.credentials import Credentials
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.link.status import LinkState
from protos.v1.question_pb2 import ANSWER_STATE_VALUE, COUNT_UNIT_PATIENTS, Question
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital

pytestmark = pytest.mark.flow
QUICK = Federation(heartbeat_seconds=0.5, reconnect_seconds_at_most=0.5)


class Site:
    """One hospital's outbound rooms, enrolled."""

    def __init__(self, directory, token) -> None:
        self.hospital = Hospital(directory, site="tongji")
        self.hospital.now = datetime.now(UTC)
        self.hospital.admit(60)
        self.config = GatewayConfig(site="tongji", data=directory)
        self.credentials = enrol(token, self.config, self.hospital.gate, "1.0", "admin")

    @contextmanager
    def linked(self):
        link = Link(
            self.credentials, QUICK, self.hospital.gate, self.hospital.desk,
            self.hospital.directory / "link.json", "1.0",
        )  # fmt: skip
        stop = Event()
        rooms = [Thread(target=room.run, args=(stop,)) for room in (self.hospital.desk, link)]
        for room in rooms:
            room.start()
        try:
            yield link
        finally:
            stop.set()
            for room in rooms:
                room.join(15)
                assert not room.is_alive()


def federated(tmp_path, story, life_seconds=None):
    """Run a story, in a thread of its own, beside a real coordinator."""

    async def run():
        async with a_federation(tmp_path / "hub") as federation:
            if life_seconds is not None:
                from datetime import timedelta

                fleet = federation.coordinator.rooms.fleet
                fleet._life, fleet._life_seconds = timedelta(seconds=life_seconds), life_seconds
            token = await federation.invited("tongji")
            await asyncio.to_thread(story, federation, token)

    asyncio.run(run())


def wait(claim, seconds=15.0):
    deadline = monotonic() + seconds
    while not claim():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.02)
    return monotonic()


def ask(client):
    *answers, _total = client.ask(Question(unit=COUNT_UNIT_PATIENTS), deadline_seconds=10)
    return [answer.site_answer.answer.state for answer in answers]


def test_certificates_are_renewed_without_a_dropped_stream(tmp_path):
    states, answers = set(), []

    def story(federation, token):
        site = Site(tmp_path / "site", token)
        key = site.credentials.key_file.read_bytes()
        with site.linked() as link, Client(federation.credential) as client:
            wait(lambda: link.is_connected)
            watcher = Thread(target=watch, args=(link,))
            watcher.start()
            while link.status.connections < 3:
                answers.append(ask(client))
                assert "tongji" in {s.name for s in client.sites() if s.connected}
            over.set()
            watcher.join()
        assert site.credentials.key_file.read_bytes() == key
        assert Credentials.load(site.config.keys_dir).chain_pem != site.credentials.chain_pem
        assert site.hospital.ledger.verify()

    over = Event()

    def watch(link):
        while not over.wait(0.01):
            states.add(link.status.state)

    federated(tmp_path, story, life_seconds=10)

    assert states == {LinkState.CONNECTED}
    assert set(map(tuple, answers)) == {(ANSWER_STATE_VALUE,)}


def test_a_hospital_that_was_away_past_its_certificate_comes_back_by_itself(tmp_path):
    def story(_federation, token):
        site = Site(tmp_path / "site", token)
        wait(lambda: datetime.now(UTC) > site.credentials.not_after)

        with site.linked() as link:
            wait(lambda: link.is_connected)

    federated(tmp_path, story, life_seconds=2)


def test_suspension_is_felt_within_five_seconds_and_taken_back(tmp_path):
    def story(federation, token):
        site = Site(tmp_path / "site", token)
        with site.linked() as link, Client(federation.credential) as client:
            wait(lambda: link.is_connected)

            began = monotonic()
            client.suspend("tongji")
            assert wait(lambda: link.status.state is LinkState.REFUSED) - began < 5
            assert "tongji is suspended" in link.status.says
            assert not any(s.connected for s in client.sites())
            client.restore("tongji")
            wait(lambda: link.is_connected)

            began = monotonic()
            client.revoke("tongji")
            assert wait(lambda: link.status.state is LinkState.REFUSED) - began < 5
            with pytest.raises(WrongMoment, match="revoked"):
                client.restore("tongji")
            with pytest.raises(WrongMoment, match="revoked"):
                client.invite("tongji")

    federated(tmp_path, story)


def test_a_suspended_hospitals_token_does_not_let_it_in_again(tmp_path):
    def story(federation, token):
        site = Site(tmp_path / "site", token)
        with Client(federation.credential) as client:
            spare = client.invite("tongji").token
            client.suspend("tongji")

            with pytest.raises(Refused, match="suspended"):
                enrol(spare, site.config, site.hospital.gate, "1.0", "admin", force=True)

    federated(tmp_path, story)


def test_a_certificate_is_not_renewed_early(tmp_path):
    def story(_federation, token):
        from gateway.link.renewal import Renewal

        site = Site(tmp_path / "site", token)
        later = site.credentials.renews_at
        renewal = Renewal(
            site.config.keys_dir, site.hospital.gate, lambda _: None, "1.0", lambda: later,
            lambda low, _high: low,
        )  # fmt: skip

        assert renewal.attempt() is False  # a clock that is ahead gains nothing
        assert Credentials.load(site.config.keys_dir).chain_pem == site.credentials.chain_pem

    federated(tmp_path, story)


def test_a_new_intermediate_takes_over_without_a_restart_and_cuts_nobody_off(tmp_path):
    """The authority signs the next one; who has a certificate of the last keeps its stream."""

    def story(federation, token):
        from coordinator.app.authority import Authority, read_request, sign_request
        from coordinator.app.signed import install, request_next
        from coordinator.config import load
        from coordinator.registry.certificates import load_keyed

        now, settings = datetime.now(UTC), federation.directory / "coordinator.toml"
        root = federation.directory / "root"
        keyed = load_keyed((root / "root.crt").read_bytes(), (root / "root.key").read_bytes())
        site = Site(tmp_path / "site", token)
        first = _issuer(site.credentials.chain_pem)
        with site.linked() as link, Client(federation.credential) as client:
            wait(lambda: link.is_connected)
            request = read_request(request_next(load(settings)))
            signed = sign_request(Authority.load(root), request, keyed, now)
            (tmp_path / "issuing.crt").write_bytes(signed)

            install(settings, tmp_path / "issuing.crt", now)
            fleet = federation.coordinator.rooms.fleet
            wait(lambda: fleet._authority.issuing.certificate_pem == signed)

            assert ask(client) == [ANSWER_STATE_VALUE]
            spare = Site(tmp_path / "spare", client.invite("tongji").token)
            assert _issuer(spare.credentials.chain_pem) != first
            assert link.status.connections == 1

    federated(tmp_path, story)


def _issuer(chain_pem):
    from cryptography import x509

    return x509.load_pem_x509_certificates(chain_pem)[1].serial_number


def test_the_coordinator_renews_its_own_certificate_while_it_runs(tmp_path):
    def story(federation, _token):
        from cryptography import x509

        server = federation.directory / "keys" / "server.crt"
        before = server.read_bytes()
        shown = federation.coordinator._shown
        federation.days_pass(300)  # of 397

        wait(lambda: server.read_bytes() != before)

        wait(lambda: shown._next is not None or shown._seen == shown._marks())
        made = x509.load_pem_x509_certificates(server.read_bytes())[0]
        assert (made.not_valid_after_utc - datetime.now(UTC)).days > 600

    federated(tmp_path, story)
