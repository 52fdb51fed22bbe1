"""The lies of `test_hostile_sums`, about the sum of a test's statistics: the same answers."""

import pytest
from google.protobuf.message import Message

from gateway.policy import Hospital as Pinned
from gateway.release.gate import GateShut
from gateway.release.rules import Withheld
from protos import job_manifest
from protos.v1 import job_pb2
from protos.v1.sum_pb2 import SumSurvivors
from tests.attack.test_hostile_sums import (
    OTHERS,
    SITE,
    UPDATE,
    Accomplices,
    hospital,
    liar,
    linked,
    masked,
    of_yesterday,
    refusals,
    roster,
    sybil,
    test_of_nobody_both_secrets_are_revealed,
    test_two_stories_of_who_is_in_the_sum_are_told_one_hospital_in_vain,
    test_what_was_pushed_is_the_mask_and_not_the_update,
    too_few,
    wait,
)
from tests.fakes import summing

__all__ = (  # run here again, by `others` of a test
    "hospital",
    "liar",
    "masked",
    "test_of_nobody_both_secrets_are_revealed",
    "test_two_stories_of_who_is_in_the_sum_are_told_one_hospital_in_vain",
    "test_what_was_pushed_is_the_mask_and_not_the_update",
)
pytestmark = [pytest.mark.attack, pytest.mark.flow]
POSITIVES, NEGATIVES = [*range(1000, 1200)], [*range(3000, 3200)]


@pytest.fixture
def others(hospital):
    """Let a look at a locked set end at the hospital, and give it the others to know."""
    task = summing.a_task(SITE, summing.a_model(len(UPDATE)))
    others = Accomplices(task)
    others.site_key = hospital.sum_key.public_key().public_bytes_raw()
    pins = tuple(Pinned(name=n, public_key=k.hex()) for n, k in others.pinned.items())
    sums = hospital.policy.jobs.sums.model_copy(update={"hospitals": pins})
    jobs = hospital.policy.jobs.model_copy(update={"sums": sums})
    hospital.policy = hospital.policy.model_copy(update={"jobs": jobs})
    summing.enter_test(hospital, POSITIVES, NEGATIVES, summing.a_model(len(UPDATE)))
    return others


LIES = {sybil: "roster_stranger", too_few: "sum_too_small", of_yesterday: "roster_forged"}


@pytest.mark.parametrize(("lie", "rule"), LIES.items(), ids=lambda x: getattr(x, "__name__", x))
def test_no_statistics_are_masked_for_a_forged_roster(hospital, liar, others, lie, rule):
    with linked(hospital, liar):
        own = liar.step("keys").keys
        liar.tell(others.task, roster=lie(others, own))
        assert liar.step("refusal").refusal == rule
        outcome = liar.wait_for(
            lambda c: next((r.outcome for r in c.reports() if r.outcome.code), None)
        )

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_REFUSED, rule)
    assert not outcome.statistics
    assert not liar.pushed


def test_a_look_is_not_summed_twice_nor_with_others(hospital, liar, others, masked):
    told, _ = masked
    again = summing.a_task(SITE, summing.a_model(len(UPDATE)), suffix="-again")

    refusal = hospital.sums.judge(again, job_manifest.parse_manifest(summing.TEST_TOML))
    liar.tell(others.task, roster=roster(others, told.hospitals[0], without=("h4",)))
    wait(lambda: refusals(hospital) == ["round_replayed", "roster_differs"])

    assert refusal.rule == "round_replayed"


def test_what_is_signed_names_roster_and_masked_counts_and_holds_no_count(liar, others, masked):
    told, _ = masked
    outcome = next(r.outcome for r in liar.reports() if r.outcome.update_digest)
    said = job_pb2.EvaluationStatistics.FromString(outcome.statistics)

    assert said.summed.roster_digest == others.circle("h1", told).digest
    assert said.summed.masked_digest == outcome.update_digest
    assert not said.cells
    assert not said.HasField("unscored")
    assert not outcome.HasField("validation")
    liar.tell(others.task, survivors=SumSurvivors(sites=[SITE, *OTHERS]))
    liar.step("consent")


def count_beside(said: Message) -> None:
    said.cells_withheld = 7  # a number that is under the mask


def longer_digest(said: Message) -> None:
    said.summed.roster_digest += b"hidden"


def other_counts(said: Message) -> None:
    said.summed.masked_digest = b"x" * 32


@pytest.mark.parametrize("change", [count_beside, longer_digest, other_counts])
def test_the_gate_lets_nothing_out_beside_a_sum(hospital, change):
    said = job_pb2.EvaluationStatistics(protocol_digest=b"p" * 32, look=1)
    part = said.summed
    part.roster_digest, part.masked_digest, part.sum_key = b"r" * 32, b"m" * 32, b"k" * 32
    change(said)
    raw = said.SerializeToString(deterministic=True)
    key, signature = hospital.sets.sign("t", raw)
    outcome = job_pb2.TaskOutcome(
        task_id="t", weight=20.0, state=job_pb2.TASK_STATE_RELEASED, statistics=raw,
        statistics_key=key, statistics_signature=signature, update_digest=b"m" * 32,
    )  # fmt: skip

    with pytest.raises(GateShut, match="statistics"):
        hospital.gate.outcome("r1", outcome, "policy")


def test_what_may_not_leave_alone_may_not_leave_in_a_sum(hospital):
    manifest = job_manifest.parse_manifest(summing.TEST_TOML)
    few = summing.a_look(hospital, "job1.1.h0", [1] * 9 + [0] * 191, NEGATIVES)

    kept = hospital.gate.statistics(few, manifest)

    assert isinstance(kept, Withheld)
    assert not [e for e in hospital.ledger.entries() if e.kind == "summand"]
