import os
from datetime import datetime, timedelta
from hashlib import sha256
from time import monotonic, sleep

import pytest

from gateway.desk import reports
from gateway.desk.objects import Wanted
from gateway.link.control import Standing
from gateway.link.status import LinkState, read_status
from gateway.release.updates import ReleasedUpdate
from protos.v1 import job_pb2, question_pb2
from protos.v1.link_pb2 import Checkpoint, CheckpointExchange, ConnectResponse
from tests.fakes.coordinator_server import Authority, FakeCoordinator
from tests.fakes.outbound import QUICK, Site, until
from tests.fakes.releasing import shelve

pytestmark = pytest.mark.flow


@pytest.fixture
def coordinator():
    with FakeCoordinator() as fake:
        yield fake


@pytest.fixture
def site(tmp_path, coordinator):
    return Site(tmp_path, coordinator)


def an_answer(question_id="q1"):
    cell = question_pb2.Cell(state=question_pb2.ANSWER_STATE_VALUE, count=42)
    return reports.of_answer(
        question_pb2.Answer(
            question_id=question_id,
            state=question_pb2.ANSWER_STATE_VALUE,
            cells=[cell],
            sigma=10,
            rho=0.005,
            epoch="2026Q4",
        )
    )


def test_what_the_coordinator_says_reaches_the_desk(site, coordinator):
    coordinator.say.put(ConnectResponse(question=question_pb2.Question(question_id="q1")))
    coordinator.say.put(ConnectResponse(job_offer=job_pb2.JobOffer(job_id="j1")))
    coordinator.say.put(ConnectResponse(round_task=job_pb2.RoundTask(task_id="t1")))
    coordinator.say.put(ConnectResponse(withdrawal=job_pb2.Withdrawal(job_id="j1")))

    with site.linked():
        until(lambda: len(site.desk.taken) == 4)

    assert [kind for kind, _ in site.desk.taken] == ["question", "offer", "task", "withdrawal"]


def test_every_byte_that_arrives_is_in_the_ledger_and_nothing_else(site, coordinator):
    site.desk.reports.append(an_answer())

    with site.linked():
        until(lambda: not site.desk.reports)
        coordinator.wait_for(lambda c: len(c.heard) > 5)

    kept = [site.ledger.payload(entry) for entry in site.ledger.entries()]
    assert kept == [raw for _, raw in coordinator.heard]
    assert site.ledger.verify().total_bytes == coordinator.bytes_heard()


def test_a_report_is_repeated_after_a_restart_until_it_is_settled(site, coordinator):
    coordinator.settles = False
    site.desk.reports.append(an_answer())

    with site.linked():
        coordinator.wait_for(lambda c: len(c.reports()) == 1)
        coordinator.stop()
        sleep(0.3)
        coordinator.settles = True
        coordinator.start()
        until(lambda: not site.desk.reports)

    assert {report.report_id for report in coordinator.reports()} == {"answer-q1"}
    assert len(coordinator.reports()) == 2


def test_while_the_coordinator_is_away_nothing_is_written_as_sent(site, coordinator):
    coordinator.stop()
    before = site.ledger.total_bytes()

    with site.linked() as link:
        until(lambda: link.status.state is LinkState.UNREACHABLE)
        says = link.status.says
        sleep(0.5)

    assert site.ledger.total_bytes() == before
    assert "firewall" in says
    coordinator.start()


def test_a_fetch_resumes_where_it_was_cut_and_is_checked(site, coordinator):
    content = os.urandom((3 << 20) + 17)
    digest = sha256(content).digest()
    coordinator.objects[digest] = content
    coordinator.cut_fetch_after = 2
    site.desk.needs.append(Wanted(digest, len(content)))

    with site.linked():
        until(lambda: site.desk.objects.has(digest))

    assert site.desk.objects.read(digest) == content
    assert coordinator.fetches == [0, 2 << 20]


def test_models_move_no_faster_than_they_may_and_at_no_other_hours(site, coordinator):
    content = os.urandom(3 << 20)
    digest = sha256(content).digest()
    coordinator.objects[digest] = content
    site.desk.needs.append(Wanted(digest, len(content)))
    later = (datetime.now().astimezone() + timedelta(hours=6)).strftime("%H:%M")
    earlier = (datetime.now().astimezone() - timedelta(hours=6)).strftime("%H:%M")
    slow = {"bulk_bytes_per_second": 2 << 20}
    closed = QUICK.model_copy(update=slow | {"bulk_hours": f"{later}-{earlier}"})
    opened = QUICK.model_copy(update=slow | {"bulk_hours": f"{earlier}-{later}"})

    with site.linked(closed) as link:
        until(lambda: link.is_connected)  # reports and questions know no hours
        sleep(1.2)
        assert not coordinator.fetches
    with site.linked(opened):
        until(lambda: coordinator.fetches)
        began = monotonic()
        until(lambda: site.desk.objects.has(digest))

    assert monotonic() - began >= 0.9  # of three pieces each waits half a second
    assert site.desk.objects.read(digest) == content


def test_an_object_that_is_not_what_its_name_says_is_thrown_away(site, coordinator):
    digest = sha256(b"wanted").digest()
    coordinator.objects[digest] = b"forged"
    site.desk.needs.append(Wanted(digest, 6))

    with site.linked():
        until(lambda: len(coordinator.fetches) >= 2)

    assert not site.desk.objects.has(digest)


def test_an_update_is_pushed_once_resumed_and_before_its_outcome(site, coordinator):
    payload = os.urandom((2 << 20) + 5)
    digest = sha256(payload)
    update = ReleasedUpdate("t1", digest.hexdigest(), len(payload), 100.0, 1.0, 0.5)
    shelve(site.shelf, update, payload)
    coordinator.cut_push_after = 1
    outcome = job_pb2.TaskOutcome(
        task_id="t1",
        state=job_pb2.TASK_STATE_RELEASED,
        update_digest=digest.digest(),
        update_size=len(payload),
        weight=20,
        leakage_bits=100,
    )
    site.desk.reports.append(reports.of_outcome(outcome, "steward"))

    with site.linked():
        until(lambda: not site.desk.reports)

    assert bytes(coordinator.pushed["t1"]) == payload
    told = next(i for i, (name, raw) in enumerate(coordinator.heard) if b"outcome-t1" in raw)
    assert all(name != "Push" for name, _ in coordinator.heard[told:])


def test_a_wrong_clock_is_named_and_nothing_is_said(site, coordinator):
    coordinator.clock_offset = 600.0
    site.desk.reports.append(an_answer())

    def named():
        status = read_status(site.status_file)
        return status is not None and status.state is LinkState.CLOCK and "NTP" in status.says

    with site.linked():
        until(named)

    assert coordinator.reports() == []


class NeverAgreed:
    """A notary to whom each reply is a reason to speak again."""

    def __init__(self) -> None:
        self.heard = 0

    def statement(self) -> CheckpointExchange:
        own = Checkpoint(house="gateway/hospital-a", number=self.heard + 1, link=bytes(32))
        own.public_key, own.signature = bytes(32), bytes(64)
        return CheckpointExchange(own=own)

    def hear(self, _said: CheckpointExchange) -> bool:
        self.heard += 1
        return True


def test_a_coordinator_cannot_make_a_gateway_speak_of_its_chains_again_and_again(site, coordinator):
    notary = NeverAgreed()
    last = question_pb2.Question(question_id="last")

    with site.linked(standing=Standing(notary=notary)):
        coordinator.wait_for(lambda _: notary_spoke(site) == 1)
        for _ in range(20):
            coordinator.say.put(ConnectResponse(checkpoint=CheckpointExchange()))
        coordinator.say.put(ConnectResponse(question=last))
        until(lambda: site.desk.taken == [("question", last)])
        until(lambda: notary_spoke(site) == 2)
        sleep(0.5)

    assert notary.heard == 2
    assert notary_spoke(site) == 2


def notary_spoke(site) -> int:
    return sum(entry.kind == "checkpoint" for entry in site.ledger.entries())


def test_a_coordinator_of_another_authority_is_refused_by_name(site, coordinator):
    port = coordinator.port
    coordinator.stop()
    impostor = FakeCoordinator(Authority())
    impostor.port = port

    with impostor, site.linked() as link:
        until(lambda: link.status.state is LinkState.REFUSED)
        says = link.status.says

    assert "another authority" in says
    assert impostor.heard == []
    coordinator.start()
