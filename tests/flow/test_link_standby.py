"""A real gateway's link, and coordinators that are frozen, killed and followed: real processes."""

import signal
from contextlib import contextmanager
from time import monotonic, sleep

import pytest

from coordinator.api.client import Credential, Federation
from coordinator.api.parse import parse_question
from gateway.config import Federation as LinkSettings
from gateway.link.status import LinkState
from gateway.policy import Policy, Trust
from tests.fakes.federation import make
from tests.fakes.hospital import Hospital
from tests.fakes.linked import running as linked
from tests.flow.test_coordinator_standby import (
    a_pair,
    address_of,
    leads,
    running,
    says,
    status,
    trail,
    until,
)

pytestmark = pytest.mark.flow

LEFT_WITHIN = 25.0  # keep-alive: a question to the connection, and ten seconds for its answer
FOLLOWED_WITHIN = 30.0
QUESTION = parse_question("Modality = 'CT'", [], "patients")


@contextmanager
def a_hospital(home, directory, standbys=()):
    """Run the desk and the link of a hospital that knows the standby."""
    hospital = Hospital(directory, policy=Policy(trust=Trust(signed_questions=False)))
    hospital.admit(200)
    with Federation(Credential.load(home / "operator")) as client:
        token = client.invite("tongji").token
    settings = LinkSettings(heartbeat_seconds=1.0, standbys=standbys)
    with linked(hospital, "tongji", token, settings) as link:
        until(lambda: link.is_connected)
        yield hospital, link
    hospital.close()


def figure(home, *, within):
    """Ask as an operator does; return the hospital's figure, and how long it took."""
    began = monotonic()
    with Federation(Credential.load(home / "operator")) as client:
        *_, last = client.ask(QUESTION, deadline_seconds=within)
    return last.total.cells[0].count, monotonic() - began


def test_a_frozen_coordinator_is_left_and_found_again_when_it_wakes(tmp_path):
    home = tmp_path / "centre"
    make(home)

    with running(home) as centre:
        until(lambda: leads(home))
        with a_hospital(home, tmp_path / "house") as (_, link):
            before, _ = figure(home, within=10)
            centre.send_signal(signal.SIGSTOP)
            until(lambda: link.status.state is LinkState.UNREACHABLE, LEFT_WITHIN)
            sentence = link.status.says
            centre.send_signal(signal.SIGCONT)
            until(lambda: link.is_connected)
            after, _ = figure(home, within=10)

    assert before == after  # the same question of the same quarter
    assert "connection was lost" in sentence


def test_a_frozen_leader_is_followed_by_the_standby_and_a_woken_one_changes_nothing(
    tmp_path, shared_url
):
    first, second = a_pair(tmp_path, shared_url)

    with running(first) as leader:
        until(lambda: leads(first))
        standby = (address_of(second),)
        with (
            running(second),
            a_hospital(first, tmp_path / "house", standby) as (_, link),
        ):
            until(lambda: says(second, "coordinator_stands_by"))
            before, _ = figure(first, within=10)
            leader.send_signal(signal.SIGSTOP)
            began = monotonic()
            until(lambda: link.status.coordinator == standby[0] and link.is_connected, 60)
            followed = monotonic() - began
            after, took = figure(first, within=10)  # past the frozen one, which comes first
            leader.send_signal(signal.SIGCONT)
            until(lambda: says(first, "coordinator_stands_by"))
            sleep(2)
            roles = (status(first)["role"], status(second)["role"])
            still = link.is_connected and link.status.coordinator == standby[0]
            connections = link.status.connections

    assert before == after
    assert followed < FOLLOWED_WITHIN
    assert took < 10
    assert roles == ("standby", "leader")
    assert still
    assert connections == 2


def test_a_killed_leader_is_followed_by_a_real_gateway(tmp_path, shared_url):
    first, second = a_pair(tmp_path, shared_url)

    with running(first) as leader:
        until(lambda: leads(first))
        standby = (address_of(second),)
        with (
            running(second),
            a_hospital(first, tmp_path / "house", standby) as (hospital, link),
        ):
            until(lambda: says(second, "coordinator_stands_by"))
            before, _ = figure(first, within=10)
            spent = hospital.privacy.spent(2026)
            leader.kill()
            began = monotonic()
            until(lambda: link.status.coordinator == standby[0] and link.is_connected, 60)
            followed = monotonic() - began
            after, _took = figure(first, within=10)
            again = hospital.privacy.spent(2026)

    assert before == after
    assert again == spent
    assert followed < FOLLOWED_WITHIN
    assert trail(second).count("question_asked") == 2
