"""The desk goes by the pinned manifest: what the coordinator alone could do is refused."""

from threading import Event

import pytest

from gateway.policy import Jobs, Policy, Trust, Vendor
from gateway.release.rules import RULES
from protos.signatures import Distrust
from protos.v1 import job_pb2, question_pb2
from tests.fakes.hospital import Hospital
from tests.fakes.signers import SITE, Signatories

RAW = b"a packed bundle"


@pytest.fixture(scope="module")
def people():
    from datetime import UTC, datetime

    return Signatories(datetime(2026, 11, 23, tzinfo=UTC))


@pytest.fixture
def hospital(tmp_path, people):
    jobs = Jobs(vendors=(Vendor(name="acme", public_key=people.public("acme").hex()),))
    made = Hospital(tmp_path, runner=object(), policy=Policy(jobs=jobs, trust=Trust()), site=SITE)
    made.pins.pin(people.root.certificate_pem)
    made.pins.pin(people.signed())
    made.admit(40)
    return made


def ask(hospital, question):
    """Return the hospital's answer to a question."""
    hospital.desk.take_question(question)
    hospital.desk._answer(Event())
    answers = [question_pb2.Answer.FromString(r.body) for r in hospital.desk.outbox()]
    return next(a for a in answers if a.question_id == question.question_id)


def audited(hospital, event):
    return [e.facts for e in hospital.audit.events() if e.event == event]


def test_a_signed_question_is_answered_and_charged_to_whoever_signed(hospital, people):
    answer = ask(hospital, people.question())

    assert answer.state == question_pb2.ANSWER_STATE_VALUE
    assert list(hospital.privacy.spenders(2026)) == ["uni/alice"]
    assert audited(hospital, "question_answered")[0]["requester"] == "uni/alice"


def test_a_replayed_question_is_refused_and_costs_nothing(hospital, people):
    question = people.question()
    ask(hospital, question)
    spent = hospital.privacy.spent(2026)

    question.question_id = "q2"
    answer = ask(hospital, question)

    assert (answer.state, answer.rule) == (question_pb2.ANSWER_STATE_REFUSED_POLICY, "replayed")
    assert hospital.privacy.spent(2026) == spent
    assert audited(hospital, "question_answered")[-1]["rule"] == "replayed"


def test_the_same_question_again_after_a_cut_is_no_replay(hospital, people):
    first = ask(hospital, people.question())

    hospital.desk.settled(hospital.desk.outbox()[0].report_id)

    assert ask(hospital, people.question()) == first  # known by its name: the answer is repeated


def test_a_nonce_taken_before_a_crash_is_still_that_questions_own(hospital, people):
    question = people.question()
    hospital.signers.asker(question)  # the gateway dies before the answer is stored

    assert ask(hospital, question).state == question_pb2.ANSWER_STATE_VALUE


def test_nonces_are_forgotten_when_their_signatures_have_ended(hospital, people):
    from datetime import timedelta

    old = people.question(name="q1", minutes=5)
    hospital.signers.asker(old)
    hospital.now += timedelta(minutes=10)

    hospital.signers.asker(people.question(name="q2", minutes=60))

    ((count,),) = hospital.book._read("SELECT count(*) FROM nonce")
    assert count == 1
    old.question_id = "q3"
    assert hospital.signers.asker(old).rule == "signature_expired"


def test_an_unsigned_question_is_answered_only_where_the_policy_says_so(hospital, people):
    question = people.question()
    question.ClearField("signed")

    assert ask(hospital, question).rule == "unsigned"
    hospital.policy = Policy(trust=Trust(signed_questions=False))
    question.question_id = "q2"
    assert ask(hospital, question).state == question_pb2.ANSWER_STATE_VALUE


def decide(hospital, offer):
    hospital.desk.take_offer(offer)
    (report,) = hospital.desk.outbox()
    decision = job_pb2.JobDecision.FromString(report.body)
    assert decision.decision == job_pb2.DECISION_REFUSED
    return decision.rule


def test_a_reviewed_job_is_fetched_and_waits_for_the_steward(hospital, people):
    hospital.desk.take_offer(people.offer(RAW))

    assert len(hospital.desk.wanted()) == 1
    shown = hospital.desk.approval("job1")
    assert (shown.project, shown.reviewers) == ("nodules", 2)


@pytest.mark.parametrize(
    ("reviewers", "rule"),
    [
        ((), "too_few_reviews"),
        (("ruth", "vera"), "wrong_organisation"),
        (("ruth", "stranger"), "unknown_signer"),
    ],
)
def test_a_forged_approval_is_refused_before_anything_is_fetched(hospital, people, reviewers, rule):
    assert decide(hospital, people.offer(RAW, reviewers)) == rule
    assert hospital.desk.wanted() == []
    assert audited(hospital, "job_refused")[0]["rule"] == rule


def test_the_first_round_begins_with_the_weights_that_were_signed(hospital, people):
    offer = people.offer(RAW)
    task = job_pb2.RoundTask(task_id="t", job_id="job1", round=1)

    for digest, rule in ((b"w" * 32, None), (b"", None), (b"x" * 32, "terms_differ")):
        task.weights_digest = digest
        found = hospital.signers.judge_weights(task, offer)
        assert (found and found.rule) == rule


def test_a_newer_manifest_takes_effect_and_strikes_a_reviewer_out(hospital, people):
    hospital.desk.take_manifest(people.signed(version=2, without="rolf"))

    assert hospital.desk.manifest_version() == 2
    assert audited(hospital, "manifest_pinned") == [{"version": 2, "by": "root's signature"}]
    assert decide(hospital, people.offer(RAW)) == "unknown_signer"


def test_a_rolled_back_or_forged_manifest_is_refused_and_audited(hospital, people):
    hospital.desk.take_manifest(people.signed(version=5))

    hospital.desk.take_manifest(people.signed(version=4))
    hospital.desk.take_manifest(Signatories(people.now).signed(version=9))

    assert hospital.desk.manifest_version() == 5
    rolled_back, forged = audited(hospital, "manifest_refused")
    assert "rolled back" in rolled_back["says"]
    assert "no pinned root" in forged["says"]


def test_a_hospital_may_pin_each_manifest_by_hand(hospital, people):
    hospital.policy = Policy(trust=Trust(follow_manifest=False))

    hospital.desk.take_manifest(people.signed(version=2))

    assert hospital.desk.manifest_version() == 1


def test_every_reason_may_leave_the_hospital(hospital, people):
    assert set(Distrust) <= RULES
    question = people.question(by="stranger")
    answer = ask(hospital, question)
    assert hospital.gate.answer("r1", answer).payload
