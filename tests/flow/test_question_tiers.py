"""Every tier and unit, from a requester's key through coordinator, link, desk and gate."""

import asyncio
from datetime import UTC, date, datetime

import pytest

from coordinator.api.asking import Protection, Wish
from coordinator.api.client import Federation as Client
from gateway.policy import ExactProject, Policy, Questions, Trust
from protos.v1.question_pb2 import AnswerState
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital, facts
from tests.fakes.linked import running, wait
from tests.fakes.signers import PROJECT, Signatories

pytestmark = pytest.mark.flow

VALUE, POLICY = AnswerState.ANSWER_STATE_VALUE, AnswerState.ANSWER_STATE_REFUSED_POLICY


def a_hospital(directory, people, site, *, signs: bool) -> Hospital:
    exact = (ExactProject(project=PROJECT, approved_by="li", until=date(2999, 1, 1)),)
    questions = Questions(exact=exact if signs else ())
    hospital = Hospital(directory, site=site, policy=Policy(trust=Trust(), questions=questions))
    hospital.now = datetime.now(UTC)
    hospital.pins.pin(people.root.certificate_pem)
    hospital.pins.pin(people.signed())
    hospital.admit(300, size_bytes=3 << 20)
    hospital.index.add([facts(n, sex="M", age_years=30) for n in range(300, 400)])
    hospital.index.add([facts(n, sex="O") for n in range(400, 404)])
    return hospital


def test_every_tier_goes_the_whole_way_and_every_byte_is_in_the_ledger(tmp_path):
    people = Signatories()
    site = a_hospital(tmp_path / "a", people, "a", signs=True)
    other = a_hospital(tmp_path / "b", people, "b", signs=False)
    found = {}

    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            for hospital in (site, other):  # whose people another root vouches for
                hospital.pins.pin(federation.credential.roots_pem, another=True)
            tokens = {name: await federation.invited(name) for name in ("a", "b")}
            await asyncio.to_thread(live, federation, tokens)

    def live(federation, tokens):
        with (
            running(site, "a", tokens["a"]) as one,
            running(other, "b", tokens["b"]) as two,
            Client(federation.credential) as client,
        ):
            wait(lambda: one.is_connected and two.is_connected)
            for name, wish in wishes.items():
                found[name] = client.count(wish, deadline_seconds=20, key=people.keys["alice"])
            found["explained"] = client.explain(wishes["noisy"].question)

    sex = ("PatientSex",)
    wishes = {
        "noisy": Wish(by=sex, project=PROJECT),
        "bytes": Wish(unit="bytes", project=PROJECT),
        "mean": Wish(mean="AgeBand", project=PROJECT),
        "public": Wish(by=sex, project=PROJECT, protection=Protection.PUBLIC),
        "exact": Wish(by=sex, project=PROJECT, protection=Protection.EXACT),
        "total": Wish(project=PROJECT, protection=Protection.EXACT),
    }
    asyncio.run(story())

    rules = {name: {s: a.rule for s, a in found[name].answers.items()} for name in wishes}
    assert rules["noisy"] == rules["bytes"] == rules["mean"] == rules["public"]
    assert rules["noisy"] == {"a": "", "b": ""}
    assert rules["exact"] == {"a": "", "b": "project_not_signed_off"}
    exactly = {tuple(c.values): c.count for c in found["exact"].answers["a"].cells if c.count}
    assert exactly == {("F",): 300, ("M",): 100}
    # 404 in all would tell how many are hidden: the sum stays hidden in its turn.
    assert found["total"].answers["a"].state != VALUE
    assert abs(found["noisy"].total.cells[0].count - 600) < 80
    (summary,) = found["mean"].total.summaries
    assert summary.mean.low <= (304 * 60 + 100 * 30) / 404 <= summary.mean.high
    assert [(e.is_known, e.is_repeat, e.rho) for e in found["explained"]] == [(True, True, 0)] * 2
    paid = {"noisy": 0.005, "bytes": 0.02, "mean": 0.01, "public": 0.0375}
    assert float(site.privacy.spent(site.now.year)) == pytest.approx(sum(paid.values()))
    site.ledger.verify()
