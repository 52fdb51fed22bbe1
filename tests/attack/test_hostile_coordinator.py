"""A coordinator that lies, over the real wire: each lie is refused, and on the hospital's chain."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic, sleep
from types import SimpleNamespace

import pytest

from gateway.config import Federation, GatewayConfig
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.model import Isolation
from gateway.policy import Jobs, Policy, StandingRule, Trust, Vendor
from protos import bundle
from protos.job_manifest import PLAIN_RUNTIME
from protos.v1 import job_pb2
from protos.v1.enrolment_pb2 import EnrolResponse
from protos.v1.link_pb2 import ConnectResponse, SignedManifest
from protos.v1.question_pb2 import ANSWER_STATE_REFUSED_POLICY, ANSWER_STATE_VALUE
from tests.fakes.brightness import a_bundle
from tests.fakes.coordinator_server import Authority, FakeCoordinator
from tests.fakes.hospital import Hospital
from tests.fakes.signers import SITE, Signatories
from tests.fakes.story import Story, weights_of

pytestmark = [pytest.mark.attack, pytest.mark.flow]
QUICK = Federation(heartbeat_seconds=1.0, reconnect_seconds_at_most=0.5)


class OneRoot(Authority):
    """A federation whose root signed a manifest too."""

    def __init__(self, people) -> None:
        super().__init__()
        from coordinator.registry import certificates as pki

        self.root = people.root
        self.issuing = pki.make_issuing(self.root, "testfed", self.now)


class Liar(FakeCoordinator):
    """Holds the issuing key and the wire; the root, and people's keys, it does not have."""

    def __init__(self, people) -> None:
        super().__init__(OneRoot(people))
        self.people = people
        self.manifest = people.signed(version=5)
        self.roots = b""

    def _enrol(self, raw, context):
        response = super()._enrol(raw, context)
        response.manifest = self.manifest
        response.root_certificates_pem += self.roots
        return EnrolResponse.FromString(response.SerializeToString())

    def tell(self, **body) -> None:
        self.say.put(ConnectResponse(**body))

    def answer(self, name):
        return self.wait_for(
            lambda c: next(
                (r.answer for r in c.reports() if r.answer.question_id == name), None
            )
        )  # fmt: skip

    def decision(self, name):
        return self.wait_for(
            lambda c: next((r.decision for r in c.reports() if r.decision.job_id == name), None)
        )


@pytest.fixture
def people():
    return Signatories()


@pytest.fixture
def liar(people):
    with Liar(people) as coordinator:
        yield coordinator


@pytest.fixture
def hospital(tmp_path, people):
    """A hospital that approves everything its vendor signs: signatures alone stand in the way."""
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=people.public("acme").hex()),),
        standing=(StandingRule(vendor="acme", max_leakage_bits=1e9),),
    )
    made = Hospital(
        tmp_path / "site",
        SimpleNamespace(
            runtimes=frozenset({PLAIN_RUNTIME}), isolation=Isolation.BUBBLEWRAP, gpus=0
        ),
        Policy(jobs=jobs, trust=Trust()),
        SITE,
    )
    made.now = datetime.now(UTC)
    made.admit(40)
    return made


@contextmanager
def linked(hospital, liar):
    config = GatewayConfig(site=SITE, data=hospital.directory)
    credentials = enrol(liar.invite(SITE), config, hospital.gate, "1.0", "admin")
    link = Link(
        credentials, QUICK, hospital.gate, hospital.desk, hospital.directory / "link.json", "1.0"
    )
    stop = Event()
    rooms = [Thread(target=room.run, args=(stop,)) for room in (hospital.desk, link)]
    for room in rooms:
        room.start()
    try:
        wait(lambda: link.is_connected)
        yield
    finally:
        stop.set()
        for room in rooms:
            room.join(15)
    assert hospital.audit.verify()
    assert hospital.ledger.total_bytes() == liar.bytes_heard()


def wait(claim, seconds=10.0):
    deadline = monotonic() + seconds
    while not claim():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.02)


def audited(hospital, event):
    return [e.facts for e in hospital.audit.events() if e.event == event]


def test_questions_in_anothers_name_are_refused_and_charged_to_nobody(hospital, liar, people):
    honest = people.question(name="honest")
    unsigned = people.question(name="unsigned")
    unsigned.ClearField("signed")
    replayed = people.question(name="replayed")
    replayed.CopyFrom(honest)
    replayed.question_id = "replayed"
    widened = people.question(name="widened")
    widened.where.pop()
    renamed = people.question(name="renamed", project="weather")
    stale = people.question(name="stale", minutes=-1)
    stranger = people.question(name="stranger", by="stranger")
    reviewer = people.question(name="reviewer", by="ruth")

    with linked(hospital, liar):
        liar.tell(question=honest)
        assert liar.answer("honest").state == ANSWER_STATE_VALUE
        spent = hospital.privacy.spent(hospital.now.year)
        for lie, rule in (
            (unsigned, "unsigned"),
            (replayed, "replayed"),
            (widened, "bad_signature"),
            (renamed, "unknown_project"),
            (stale, "signature_expired"),
            (stranger, "unknown_signer"),
            (reviewer, "wrong_role"),
        ):
            liar.tell(question=lie)
            answer = liar.answer(lie.question_id)
            assert (answer.state, answer.rule) == (ANSWER_STATE_REFUSED_POLICY, rule)

    assert hospital.privacy.spent(hospital.now.year) == spent
    rules = [facts["rule"] for facts in audited(hospital, "question_answered")]
    assert rules == [
        "", "unsigned", "replayed", "bad_signature", "unknown_project", "signature_expired",
        "unknown_signer", "wrong_role",
    ]  # fmt: skip


def test_a_requesters_budget_is_not_spread_over_names_the_coordinator_invents(
    hospital, liar, people
):
    with linked(hospital, liar):
        for number in range(3):
            name = f"q{number}"
            asked = people.question(name=name, group_by=[("PatientSex", "Modality")[number % 2]])
            asked.requester = f"spiffe://demo/operator/{name}"
            liar.tell(question=asked)
            assert liar.answer(name).state == ANSWER_STATE_VALUE

    assert list(hospital.privacy.spenders(hospital.now.year)) == ["uni/alice"]


def test_forged_and_moved_approvals_run_nowhere(hospital, liar, people, tmp_path):
    raw = a_bundle(tmp_path)
    liar.objects[bundle.digest(raw)] = raw
    other = raw[:-1] + b"\1"
    alone = people.offer(raw, ("ruth",), job_id="alone")
    twice = people.offer(raw, ("ruth", "ruth"), job_id="twice")
    friends = people.offer(raw, ("ruth", "vera"), job_id="friends")
    forged = people.offer(raw, ("ruth",), job_id="forged")
    forged.reviews.add(public_key=people.public("rolf"), signature=bytes(64))
    moved = people.offer(raw, job_id="first")
    moved.job_id = "moved"  # yesterday's approval, on today's job
    swapped = people.offer(raw, job_id="swapped")
    swapped.bundle_digest = bundle.digest(other)
    swapped.vendor_signature = bundle.sign(other, people.keys["acme"])
    longer = people.offer(raw, job_id="longer")
    longer.terms.rounds = longer.rounds = 50
    ended = people.offer(raw, job_id="ended", days=-1)

    with linked(hospital, liar):
        for lie, rule in (
            (alone, "too_few_reviews"),
            (twice, "too_few_reviews"),
            (friends, "wrong_organisation"),
            (forged, "bad_signature"),
            (moved, "bad_signature"),
            (swapped, "bad_signature"),
            (longer, "bad_signature"),
            (ended, "signature_expired"),
        ):
            liar.tell(job_offer=lie)
            decision = liar.decision(lie.job_id)
            assert (decision.decision, decision.rule) == (job_pb2.DECISION_REFUSED, rule)
        assert liar.fetches == []  # not a byte of it was fetched
        liar.tell(job_offer=people.offer(raw, job_id="honest"))
        assert liar.decision("honest").decision == job_pb2.DECISION_APPROVED

    assert len(audited(hospital, "job_refused")) == 8


def test_weights_nobody_reviewed_do_not_begin_a_job(hospital, liar, people, tmp_path):
    raw = a_bundle(tmp_path)
    liar.objects[bundle.digest(raw)] = raw

    with linked(hospital, liar):
        liar.tell(job_offer=people.offer(raw))
        assert liar.decision("job1").decision == job_pb2.DECISION_APPROVED
        task = job_pb2.RoundTask(
            task_id="t1", job_id="job1", round=1, weights_digest=b"x" * 32, weights_size=9
        )
        liar.tell(round_task=task)
        outcome = liar.wait_for(
            lambda c: next((r.outcome for r in c.reports() if r.outcome.task_id == "t1"), None)
        )

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, "terms_differ")
    assert b"x" * 32 not in {bytes(digest) for digest in liar.objects}
    assert audited(hospital, "round_ended")[0]["code"] == "terms_differ"


def test_weights_swapped_between_rounds_are_refused_and_on_the_chain(
    hospital, liar, people, tmp_path
):
    raw = a_bundle(tmp_path)
    liar.objects[bundle.digest(raw)] = raw
    story = Story(bundle.digest(raw))
    honest, planted = story.told(1), b"x" * 32
    altered = story.told(1)
    altered[0].weights_after = planted
    lies = {
        "silent": ([], planted, "unsigned"),
        "swapped": (honest, planted, "other_weights"),
        "altered": (altered, planted, "forged"),
        "anybody": (Story(bundle.digest(raw)).told(1, weights_before=planted), weights_of(2),
                    "other_start"),
    }  # fmt: skip

    def tell(name, number, told, digest):
        liar.tell(
            round_task=job_pb2.RoundTask(
                task_id=name, job_id="job1", round=number, weights_digest=digest, weights_size=9,
                transcripts=told,
            )
        )  # fmt: skip

    def refused(name):
        outcome = liar.wait_for(
            lambda c: next((r.outcome for r in c.reports() if r.outcome.task_id == name), None)
        )
        return outcome.state == job_pb2.TASK_STATE_REFUSED and outcome.code

    with linked(hospital, liar):
        liar.tell(job_offer=people.offer(raw))
        assert liar.decision("job1").decision == job_pb2.DECISION_APPROVED
        for name, (told, digest, _) in lies.items():
            tell(name, 2, told, digest)
            assert refused(name) == "chain_broken"
        fetched = len(liar.fetches)
        tell("honest", 2, honest, weights_of(2))
        wait(lambda: len(liar.fetches) > fetched)  # this one is believed, and its weights wanted
        tell("twice", 3, story.told(2, weights_before=planted)[1:], weights_of(3))
        assert refused("twice") == "chain_broken"
        forked = story.told(1, weights_after=planted)
        story.add(forked, 2, weights_before=planted)
        tell("otherwise", 3, forked, weights_of(3))
        assert refused("otherwise") == "chain_broken"

    found = [facts["finding"] for facts in audited(hospital, "round_chain_broken")]
    assert found == [*(finding for *_, finding in lies.values()), "broken", "forked"]
    assert planted not in {bytes(digest) for digest in liar.objects}


def test_a_manifest_goes_forward_only_and_only_by_the_root(hospital, liar, people):
    usurper = Signatories()

    with linked(hospital, liar):
        assert hospital.desk.manifest_version() == 5  # it came with the enrolment
        for lie in (
            people.signed(version=4),
            people.signed(version=5, without="rolf"),
            usurper.signed(version=9),
            b"{}",
            people.signed(version=9).replace(b'"uni"', b'"foe"'),
        ):
            liar.tell(manifest=SignedManifest(content=lie))
        wait(lambda: len(audited(hospital, "manifest_refused")) == 5)
        assert hospital.desk.manifest_version() == 5
        liar.tell(manifest=SignedManifest(content=people.signed(version=6, without="alice")))
        wait(lambda: hospital.desk.manifest_version() == 6)
        liar.tell(question=people.question(name="late"))
        assert liar.answer("late").rule == "unknown_signer"


def test_a_root_or_manifest_slipped_into_the_enrolment_is_not_pinned(hospital, liar):
    usurper = Signatories()
    liar.roots, liar.manifest = usurper.root.certificate_pem, usurper.signed(version=9)

    with linked(hospital, liar):
        assert hospital.pins.roots() == [liar.people.root.certificate]
        liar.tell(manifest=SignedManifest(content=usurper.signed(version=10)))
        wait(lambda: audited(hospital, "manifest_refused"))
        liar.tell(question=liar.people.question())
        assert liar.answer("q1").rule == "no_manifest"


def test_a_hospital_that_is_not_named_takes_no_part(hospital, liar, people, tmp_path):
    project = people.manifest.projects[0].model_copy(update={"hospitals": ("elsewhere",)})
    liar.manifest = people.signed(version=5, projects=(project,))
    raw = a_bundle(tmp_path)

    with linked(hospital, liar):
        liar.tell(question=people.question())
        liar.tell(job_offer=people.offer(raw))
        assert liar.answer("q1").rule == "wrong_hospital"
        assert liar.decision("job1").rule == "wrong_hospital"


def test_a_signature_made_long_before_does_not_open_the_door(hospital, liar, people):
    later = people.question(name="later", minutes=60 * 24 * 30)

    with linked(hospital, liar):
        liar.tell(question=later)
        assert liar.answer("later").rule == "valid_too_long"
        hospital.now += timedelta(days=60)  # the manifest has ended meanwhile
        liar.tell(question=people.question(name="after"))
        wait(lambda: audited(hospital, "question_expired"))
