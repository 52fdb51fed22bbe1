from datetime import timedelta
from threading import Event

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.desk.book import Book, IllegalMove, UnknownJob
from gateway.desk.rules import NEXT, NEXT_TASK, JobStage, TaskStage
from gateway.policy import Jobs, Policy, Vendor
from protos.v1 import job_pb2
from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Answer, Question, RequesterSignature
from tests.fakes.hospital import Hospital

KEY = bytes(32)


@pytest.fixture
def hospital(tmp_path):
    jobs = Jobs(vendors=(Vendor(name="acme", public_key=KEY.hex()),))
    return Hospital(tmp_path, runner=object(), policy=Policy(jobs=jobs))


def a_question(hospital, name="q1", minutes=5):
    question = Question(question_id=name, unit=COUNT_UNIT_PATIENTS, requester="alice")
    question.expires_at.FromDatetime(hospital.now + timedelta(minutes=minutes))
    return question


def an_offer(**changes):
    fields = {
        "job_id": "j1",
        "bundle_digest": b"d" * 32,
        "bundle_size": 10,
        "vendor_key": KEY,
        "kind": job_pb2.JOB_KIND_TRAINING,
        "rounds": 3,
    }
    return job_pb2.JobOffer(**fields | changes)


def test_a_question_is_answered_once_and_reported_until_settled(hospital):
    hospital.desk.take_question(a_question(hospital))
    hospital.desk._answer(Event())

    (report,) = hospital.desk.outbox()
    assert Answer.FromString(report.body).question_id == "q1"
    hospital.desk.settled(report.report_id)
    assert hospital.desk.outbox() == []


def test_asked_again_the_desk_repeats_the_same_answer(hospital):
    hospital.desk.take_question(a_question(hospital))
    hospital.desk._answer(Event())
    (first,) = hospital.desk.outbox()
    hospital.desk.settled(first.report_id)

    hospital.desk.take_question(a_question(hospital))
    hospital.desk._answer(Event())

    assert hospital.desk.outbox() == [first]


def test_a_question_taken_before_a_restart_is_answered_after_it(hospital):
    hospital.desk.take_question(a_question(hospital))
    hospital.close()
    hospital.open()

    hospital.desk._answer(Event())

    assert len(hospital.desk.outbox()) == 1


def test_an_expired_question_is_not_answered_and_costs_nothing(hospital):
    hospital.desk.take_question(a_question(hospital, minutes=-1))
    hospital.desk._answer(Event())

    assert hospital.desk.outbox() == []
    assert hospital.privacy.spent(2026) == 0


def test_an_identifier_that_could_carry_a_message_is_dropped(hospital):
    hospital.desk.take_question(a_question(hospital, name="q1\nDROP TABLE"))
    hospital.desk.take_offer(an_offer(job_id="x" * 65))

    assert hospital.book.questions() == []
    assert hospital.book.jobs() == []


@pytest.mark.parametrize("moment", [{"seconds": 1 << 62}, {"nanos": -1}, {"seconds": -(1 << 62)}])
def test_a_time_that_does_not_exist_stops_nothing(hospital, moment):
    never = Timestamp(**moment)
    hospital.desk.take_question(Question(question_id="q0", expires_at=never))
    hospital.desk.take_question(
        Question(question_id="q1", signed=RequesterSignature(expires_at=never))
    )
    hospital.desk.take_offer(an_offer(terms=job_pb2.JobTerms(expires_at=never)))
    hospital.desk.take_task(job_pb2.RoundTask(task_id="t0", job_id="j1", deadline=never))
    # One that was taken before anybody looked.
    hospital.book.take_task("t1", "j1", 1, job_pb2.RoundTask(deadline=never).SerializeToString())
    hospital.desk.take_question(a_question(hospital, name="q2"))

    hospital.desk._answer(Event())
    hospital.desk._job(Event())

    assert {report.subject for report in hospital.desk.outbox()} == {"q2", "t1"}
    assert hospital.book.jobs() == hospital.book.open_tasks() == hospital.desk.wanted() == []


@pytest.mark.parametrize(
    ("offer", "rule"),
    [
        (an_offer(vendor_key=b"k" * 32), "unknown_vendor"),
        (an_offer(bundle_size=1 << 40), "bundle_too_large"),
        (an_offer(rounds=1000), "too_many_rounds"),
    ],
)
def test_an_offer_against_policy_is_refused_before_it_is_fetched(hospital, offer, rule):
    hospital.desk.take_offer(offer)

    assert hospital.desk.wanted() == []
    (report,) = hospital.desk.outbox()
    decision = job_pb2.JobDecision.FromString(report.body)
    assert (decision.decision, decision.rule) == (job_pb2.DECISION_REFUSED, rule)


def test_without_a_working_sandbox_every_offer_is_refused(hospital):
    hospital.rounds._runner = None

    hospital.desk.take_offer(an_offer())

    assert hospital.desk.approval("j1").rule == "sandbox_unavailable"


def test_the_bundle_of_an_open_offer_is_wanted(hospital):
    hospital.desk.take_offer(an_offer())

    (wanted,) = hospital.desk.wanted()
    assert (wanted.digest, wanted.size) == (b"d" * 32, 10)


def test_a_withdrawal_is_final(hospital):
    hospital.desk.take_offer(an_offer())

    hospital.desk.withdraw("j1")
    hospital.desk.withdraw("j1")

    with pytest.raises(IllegalMove, match="withdrawn"):
        hospital.desk.approve("j1", "Dr. Steward")


def test_a_job_nobody_offered_cannot_be_approved(hospital):
    with pytest.raises(UnknownJob):
        hospital.desk.approve("j9", "Dr. Steward")


def test_a_steward_decides_from_another_process(hospital, tmp_path):
    hospital.desk.take_offer(an_offer())
    hospital.book.decide("j1", JobStage.WAITING)
    other = Hospital(tmp_path, runner=object(), policy=hospital.policy)

    other.desk.reject("j1", "Dr. Steward", "no ethics approval")

    (report,) = hospital.desk.outbox()
    assert b"ethics" not in report.body
    assert report.approved_by == "Dr. Steward"


@pytest.mark.parametrize("here", JobStage)
def test_a_job_moves_along_its_lifecycle_only(tmp_path, here):
    book = Book.open(tmp_path / "desk.db")

    for there in JobStage:
        name = f"to-{there}"
        book.take_job(name, b"", "acme")
        with book._transaction() as write:
            write.execute("UPDATE job SET stage = ? WHERE job_id = ?", (here, name))
        if there in NEXT[here]:
            book.decide(name, there)
            assert book.job(name).stage is there
        else:
            with pytest.raises(IllegalMove):
                book.decide(name, there)


def test_every_stage_has_its_line_in_the_lifecycles():
    assert set(NEXT) == set(JobStage)
    assert set(NEXT_TASK) == set(TaskStage)


def test_a_newer_report_supersedes_the_unsettled_ones_of_its_task(hospital):
    from gateway.desk import reports

    hospital.book.take_task("t1", "j1", 1, b"")
    running = reports.of_state("t1", job_pb2.TASK_STATE_RUNNING)
    hospital.book.move_task("t1", TaskStage.RUNNING, running)
    failed = reports.of_state("t1", job_pb2.TASK_STATE_FAILED, "code_failed")
    hospital.book.move_task("t1", TaskStage.FAILED, failed, "code_failed")

    assert hospital.desk.outbox() == [failed]


@pytest.mark.parametrize(("hours", "moved"), [(168, True), (-1, False)])
def test_a_repeated_task_may_bring_a_later_deadline_and_nothing_else(hospital, hours, moved):
    task = job_pb2.RoundTask(task_id="t1", job_id="j1", round=1, weights_digest=b"w" * 32)
    task.deadline.FromDatetime(hospital.now)
    hospital.desk.take_task(task)
    repeat = job_pb2.RoundTask()
    repeat.CopyFrom(task)
    repeat.deadline.FromDatetime(hospital.now + timedelta(hours=hours))
    repeat.weights_digest = b"x" * 32

    hospital.desk.take_task(repeat)

    known = job_pb2.RoundTask.FromString(hospital.book.task("t1").body)
    assert (known.deadline == repeat.deadline) is moved
    assert known.weights_digest == b"w" * 32
