"""A coordinator that lies about a secure sum, over the real wire: refused, and on the chain."""

from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from threading import Event, Thread
from time import monotonic, sleep

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.config import Federation, GatewayConfig
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.policy import Hospital as Pinned
from gateway.release.secure_sum import Secrets, admit, enter
from protos.sums import SumContext, transcript_statement
from protos.v1 import job_pb2
from protos.v1.link_pb2 import ConnectResponse
from protos.v1.sum_pb2 import (
    SealedShare,
    SumCall,
    SumConsent,
    SumKeys,
    SumReport,
    SumRoster,
    SumShares,
    SumSurvivors,
    SumTranscript,
)
from tests.fakes import summing
from tests.fakes.coordinator_server import FakeCoordinator

pytestmark = [pytest.mark.attack, pytest.mark.flow]
QUICK = Federation(heartbeat_seconds=1.0, reconnect_seconds_at_most=0.5)
SITE = "h0"
OTHERS = ("h1", "h2", "h3", "h4")
UPDATE = np.linspace(-0.1, 0.1, 50)


class Accomplices:
    """The other hospitals: honest keys, in the hands of whoever writes the test."""

    def __init__(self, task):
        self.task = task
        self.context = SumContext(task.job_id, task.round, summing.BUNDLE, task.weights_digest)
        self.identities = {name: Ed25519PrivateKey.generate() for name in OTHERS}
        self.secrets = {name: Secrets.drawn() for name in OTHERS}
        self.keys = {name: self.entry(name) for name in OTHERS}
        self.pinned = {n: k.public_key().public_bytes_raw() for n, k in self.identities.items()}

    def entry(self, name, context=None, weight=20):
        identity = self.identities[name]
        return enter(context or self.context, name, weight, self.secrets[name], identity)

    def circle(self, name, roster):
        pinned = self.pinned | {SITE: self.site_key}
        return admit(self.context, roster, self.keys[name], self.secrets[name], pinned, least=3)

    def shares_for(self, roster):
        """Return what honest hospitals deal to the one under attack, beside its own."""
        told = SumShares()
        for name in OTHERS:
            for share in self.circle(name, roster).deal().shares:
                if share.site == SITE:
                    told.shares.append(SealedShare(site=name, sealed=share.sealed))
        return told

    def transcript(self, roster, survivors, by=OTHERS, signed=None):
        statement = transcript_statement(
            self.context, self.circle("h1", roster).digest, signed or survivors
        )
        consents = [
            SumConsent(site=name, signature=self.identities[name].sign(statement)) for name in by
        ]
        return SumTranscript(survivors=SumSurvivors(sites=survivors), consents=consents)


class Liar(FakeCoordinator):
    """Carries every message, and has the key of no hospital."""

    def step(self, name):
        """Wait for what the hospital says at a step."""
        return self.wait_for(lambda c: next(iter(c.steps(name)), None))

    def steps(self, name=None):
        said = [r.sum for r in self.reports() if r.WhichOneof("body") == "sum"]
        return [one for one in said if name in (None, one.WhichOneof("step"))]

    def tell(self, task, **step):
        self.say.put(ConnectResponse(sum=SumCall(task_id=task.task_id, **step)))


@pytest.fixture
def liar():
    with Liar() as coordinator:
        yield coordinator


@pytest.fixture
def hospital(tmp_path):
    made = summing.acquainted(tmp_path, None, (SITE,), least=4)[SITE]
    made.now = datetime.now(UTC)
    return made


@pytest.fixture
def others(hospital):
    """Let a round at the hospital end, and give it the others to know."""
    task = summing.a_task(SITE, summing.a_model(len(UPDATE)))
    others = Accomplices(task)
    others.site_key = hospital.sum_key.public_key().public_bytes_raw()
    pins = tuple(Pinned(name=n, public_key=k.hex()) for n, k in others.pinned.items())
    sums = hospital.policy.jobs.sums.model_copy(update={"hospitals": pins})
    jobs = hospital.policy.jobs.model_copy(update={"sums": sums})
    hospital.policy = hospital.policy.model_copy(update={"jobs": jobs})
    summing.enter(hospital, UPDATE)
    return others


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
        yield
    finally:
        stop.set()
        for room in rooms:
            room.join(15)
    assert hospital.audit.verify()
    assert hospital.ledger.verify()
    assert hospital.ledger.total_bytes() == liar.bytes_heard()
    assert_bare(hospital, liar)


def assert_bare(hospital, liar):
    """Demand that nothing of the update itself is in any byte that left."""
    whole, _ = summing.summand(hospital, f"job1.1.{SITE}")
    needle = whole.astype("<i4")[10:14].tobytes()
    assert not any(needle in raw for _, raw in liar.heard)


def wait(claim, seconds=10.0):
    deadline = monotonic() + seconds
    while not claim():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.02)


def refusals(hospital):
    return [e.facts["rule"] for e in hospital.audit.events() if e.event == "sum_refused"]


def roster(others, own, *, without=(), **changed):
    keys = {name: others.keys[name] for name in OTHERS if name not in without}
    keys |= {SITE: own} | changed
    return SumRoster(hospitals=[keys[name] for name in sorted(keys)])


def altered(keys, **fields):
    other = SumKeys()
    other.CopyFrom(keys)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def sybil(others, own):
    """Invent a hospital, with a key of the coordinator's own."""
    stranger = Ed25519PrivateKey.generate()
    return roster(others, own, h9=enter(others.context, "h9", 20, Secrets.drawn(), stranger))


def swapped_key(others, own):
    """Put a key of the coordinator's own in the place of a hospital's."""
    return roster(others, own, h2=altered(others.keys["h2"], mask_key=b"\7" * 32))


def signed_by_another(others, own):
    """Let one pinned hospital speak for another."""
    keys = others.keys["h2"]
    forged = enter(others.context, "h2", 20, Secrets.drawn(), others.identities["h1"])
    assert forged != keys
    return roster(others, own, h2=forged)


def swapped_own(others, own):
    """Tell the hospital that it had said something else."""
    return roster(others, altered(own, weight=own.weight + 1))


def without_it(others, own):
    """Leave the hospital out of its own sum."""
    return SumRoster(hospitals=[k for k in roster(others, own).hospitals if k.site != SITE])


def too_few(others, own):
    """Begin with fewer than the policy wants."""
    return roster(others, own, without=("h2", "h3"))


def named_twice(others, own):
    """Count one hospital for two."""
    whole = roster(others, own, without=("h4",))
    whole.hospitals.append(others.keys["h3"])
    return whole


def other_weights(others, own):
    """Let others sum over another model than this hospital's."""
    context = SumContext("job1", 1, summing.BUNDLE, b"x" * 32)
    return roster(others, own, h2=others.entry("h2", context))


def weights_renamed(others, own):
    """Do the same, and rewrite what the entry says about it."""
    entry = others.entry("h2", SumContext("job1", 1, summing.BUNDLE, b"x" * 32))
    return roster(others, own, h2=altered(entry, weights_digest=own.weights_digest))


def of_yesterday(others, own):
    """Bring back an entry of an earlier round, whose secrets are known by now."""
    earlier = SumContext("job1", 0, summing.BUNDLE, others.task.weights_digest)
    return roster(others, own, h2=others.entry("h2", earlier))


def weighing_nothing(others, own):
    """Let the others weigh so much that a sum could wrap."""
    heavy = altered(others.keys["h2"], weight=2**32 - 1)
    return roster(others, own, h2=heavy)


LIES = {
    sybil: "roster_stranger",
    swapped_key: "roster_forged",
    signed_by_another: "roster_forged",
    swapped_own: "roster_forged",
    without_it: "roster_forged",
    too_few: "sum_too_small",
    named_twice: "roster_forged",
    other_weights: "roster_other_weights",
    weights_renamed: "roster_forged",
    of_yesterday: "roster_forged",
    weighing_nothing: "roster_forged",
}


@pytest.mark.parametrize(("lie", "rule"), LIES.items(), ids=lambda x: getattr(x, "__name__", x))
def test_a_forged_roster_is_refused_and_nothing_is_masked_for_it(hospital, liar, others, lie, rule):
    with linked(hospital, liar):
        own = liar.step("keys").keys
        liar.tell(others.task, roster=lie(others, own))
        assert liar.step("refusal").refusal == rule
        outcome = liar.wait_for(
            lambda c: next((r.outcome for r in c.reports() if r.outcome.code), None)
        )
        liar.tell(others.task, roster=roster(others, own))  # the honest one comes too late
        sleep(0.3)

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, rule)
    assert [one.WhichOneof("step") for one in liar.steps()] == ["keys", "refusal"]
    assert refusals(hospital)[0] == rule
    assert hospital.sum_book.find(others.task.task_id).secrets == b""
    assert not liar.pushed


@pytest.fixture
def masked(hospital, liar, others):
    """Bring an honest sum to where the masked update has been pushed."""
    with linked(hospital, liar):
        own = liar.step("keys").keys
        told = roster(others, own)
        liar.tell(others.task, roster=told)
        dealt = liar.step("shares").shares
        shares = others.shares_for(told)
        shares.shares.extend(s for s in dealt.shares if s.site == SITE)
        liar.tell(others.task, shares=shares)
        liar.wait_for(lambda c: any(r.outcome.update_digest for r in c.reports()))
        yield told, shares


def quiet(liar, *steps):
    """Demand that of some steps nothing is said, with time for it to be said."""
    sleep(0.4)
    return not any(liar.steps(step) for step in steps)


def test_of_nobody_both_secrets_are_revealed(hospital, liar, others, masked):
    told, _ = masked
    everybody, without = [SITE, *OTHERS], [SITE, "h1", "h2", "h3"]

    liar.tell(others.task, survivors=SumSurvivors(sites=everybody))
    liar.step("consent")
    liar.tell(others.task, transcript=others.transcript(told, everybody))
    said = liar.step("unmasking").unmasking
    # Then the other half is asked for: h4 shall have dropped out, they say, and all agree.
    liar.tell(others.task, survivors=SumSurvivors(sites=without))
    liar.tell(others.task, transcript=others.transcript(told, without))
    wait(lambda: len(refusals(hospital)) == 2)

    assert {share.site for share in said.self_masks} == set(everybody)
    assert not said.mask_keys
    assert refusals(hospital) == ["survivors_differ", "survivors_differ"]
    assert len(liar.steps("unmasking")) == 1


def test_two_stories_of_who_is_in_the_sum_are_told_one_hospital_in_vain(
    hospital, liar, others, masked
):
    told, _ = masked
    liar.tell(others.task, survivors=SumSurvivors(sites=[SITE, *OTHERS]))
    liar.step("consent")

    liar.tell(others.task, survivors=SumSurvivors(sites=[SITE, "h1", "h2", "h3"]))
    wait(lambda: refusals(hospital) == ["survivors_differ"])
    liar.tell(others.task, transcript=others.transcript(told, [SITE, "h1", "h2", "h3"]))
    wait(lambda: len(refusals(hospital)) == 2)

    assert quiet(liar, "unmasking")


@pytest.mark.usefixtures("masked")
@pytest.mark.parametrize(
    ("survivors", "rule"),
    [
        ([SITE, "h1", "h2"], "sum_too_small"),  # 3 of 5, and 4 are needed
        (["h1", "h2", "h3", "h4"], "survivors_forged"),  # and what of this hospital?
        ([SITE, "h1", "h2", "h9"], "survivors_forged"),
        ([SITE, "h1", "h2", "h2", "h2"], "survivors_forged"),
    ],
)
def test_survivors_that_cannot_be_are_not_signed(hospital, liar, others, survivors, rule):
    liar.tell(others.task, survivors=SumSurvivors(sites=survivors))

    assert liar.step("refusal").refusal == rule
    assert quiet(liar, "consent", "unmasking")
    assert refusals(hospital) == [rule]


def test_a_transcript_counts_by_the_hospitals_own_signatures(liar, others, masked):
    told, _ = masked
    everybody = [SITE, *OTHERS]
    liar.tell(others.task, survivors=SumSurvivors(sites=everybody))
    liar.step("consent")
    forged = others.transcript(told, everybody, by=("h1", "h2"))
    for name in ("h3", "h4"):
        stranger = Ed25519PrivateKey.generate()
        forged.consents.append(SumConsent(site=name, signature=stranger.sign(b"anything")))
    for _ in range(3):  # and one signature does not count three times
        forged.consents.append(forged.consents[0])

    liar.tell(others.task, transcript=forged)

    assert liar.step("refusal").refusal == "transcript_forged"
    assert quiet(liar, "unmasking")


def test_signatures_under_another_sum_do_not_open_this_one(liar, others, masked):
    told, _ = masked
    everybody = [SITE, *OTHERS]
    liar.tell(others.task, survivors=SumSurvivors(sites=everybody))
    liar.step("consent")

    elsewhere = others.transcript(told, everybody, signed=[SITE, "h1", "h2", "h3"])
    liar.tell(others.task, transcript=elsewhere)

    assert liar.step("refusal").refusal == "transcript_forged"


def test_a_round_is_not_summed_twice(hospital, liar, others, masked):
    told, shares = masked
    first = bytes(liar.pushed[others.task.task_id])
    # The same round again under another name: a second mask over the same update would fall off.
    again = summing.a_task(SITE, summing.a_model(len(UPDATE)), suffix="-again")
    manifest = summing.job_manifest.parse_manifest(summing.TOML % len(UPDATE))

    refusal = hospital.sums.judge(again, manifest)
    liar.tell(others.task, roster=told)
    liar.tell(others.task, roster=roster(others, told.hospitals[0], without=("h4",)))
    liar.tell(others.task, shares=shares)
    liar.tell(again, roster=told)
    wait(lambda: refusals(hospital) == ["round_replayed", "roster_differs"])

    assert refusal.rule == "round_replayed"
    assert len(liar.steps("keys")) == len(liar.steps("shares")) == 1
    assert bytes(liar.pushed[others.task.task_id]) == first
    wait(lambda: [e for e in hospital.audit.events() if e.event == "sum_unknown"])


def test_shares_that_are_for_somebody_else_end_the_sum(hospital, liar, others):
    with linked(hospital, liar):
        own = liar.step("keys").keys
        told = roster(others, own)
        liar.tell(others.task, roster=told)
        dealt = liar.step("shares").shares
        shares = SumShares(shares=[SealedShare(site="h1", sealed=s.sealed) for s in dealt.shares])

        liar.tell(others.task, shares=shares)

        assert liar.step("refusal").refusal == "shares_forged"
    assert not liar.pushed


@pytest.mark.usefixtures("masked")
def test_what_was_pushed_is_the_mask_and_not_the_update(hospital, liar, others):
    pushed = bytes(liar.pushed[others.task.task_id])
    kept = hospital.shelf.find(f"{others.task.task_id}/summand")

    (entry,) = [e for e in hospital.ledger.entries() if e.kind == "summand"]
    assert f"sha256={kept.digest} size={kept.size}" in entry.rule
    assert entry.size == 0  # nothing of it went by the wire
    update = hospital.shelf.find(others.task.task_id)
    assert sha256(pushed).hexdigest() == update.digest != kept.digest
    rules = {e.rule for e in hospital.ledger.entries() if e.kind == "chunk"}
    assert rules == {"masked for a secure sum"}


def test_a_step_with_two_shares_of_one_hospital_does_not_pass_the_gate(hospital):
    from gateway.release.gate import GateShut
    from protos.v1.sum_pb2 import OpenShare, SumUnmasking

    both = SumUnmasking(
        self_masks=[OpenShare(site="h1", share=bytes(33))],
        mask_keys=[OpenShare(site="h1", share=bytes(33))],
    )

    with pytest.raises(GateShut):
        hospital.gate.sum_step("r", SumReport(task_id="job1.1.h0", unmasking=both), "")
