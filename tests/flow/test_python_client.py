"""The typed client: what its own page shows is run against a coordinator and its hospitals."""

import asyncio
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.asking import Protection, Wish
from coordinator.errors import InvalidRequest
from protos.v1.question_pb2 import Answer, AnswerState, Cell, Question, Tier
from tests.fakes.federation import a_federation, connected

pytestmark = pytest.mark.flow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-client.md"
VALUE = AnswerState.ANSWER_STATE_VALUE


def women(question: Question) -> Answer:
    cells = [Cell(values=["F"], state=VALUE, count=120)]
    return Answer(question_id=question.question_id, state=VALUE, cells=cells, sigma=10.0)


def test_the_example_of_the_client_runs_and_prints_the_sum(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)

    async def story():
        async with a_federation(tmp_path) as federation:
            monkeypatch.chdir(federation.directory)
            alpha = await federation.enrolled("alpha")
            alpha.answering = women
            async with connected(alpha):
                names = {"key": Ed25519PrivateKey.generate()}
                await asyncio.to_thread(exec, compile(example, "example", "exec"), names)
            (asked,) = [m.question for m in alpha.seen if m.HasField("question")]
            assert asked.signed.signature
            assert asked.project == "lungs"

    asyncio.run(story())

    assert "F 120 19.6 1 0\nalpha 1  10.0 0.0" in capsys.readouterr().out


def test_a_gateway_that_knows_no_tiers_is_not_taken_for_exact(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            old, new = [await federation.enrolled(name) for name in ("old", "new")]
            old.answering = women

            def exactly(question):
                answer = women(question)
                answer.tier, answer.sigma = question.tier, 0
                return answer

            new.answering = exactly
            wish = Wish(by=("PatientSex",), project="lungs", protection=Protection.EXACT)
            heard = []
            async with connected(old, new):
                found = await federation.asked(
                    lambda c: c.count(wish, heard=lambda *each: heard.append(each[1:]))
                )

            assert found.question.tier == Tier.TIER_EXACT
            assert found.answers["old"].rule == "unknown_tier"
            assert [(c.count, c.margin, c.sites) for c in found.total.cells] == [(120, 0, 1)]
            assert sorted(heard) == [("new", 2), ("old", 2)]

    asyncio.run(story())


@pytest.mark.parametrize(
    "wish",
    [
        Wish(mean="Modality"),
        Wish(where="Modality = 'CT'", protection=Protection.PUBLIC),
        Wish(unit="bytes", protection=Protection.EXACT),
        Wish(by=("Modality", "PatientSex"), mean="PatientAge"),
    ],
)
def test_a_wish_that_cannot_be_asked_is_refused_before_anybody_is_called(wish):
    with pytest.raises(InvalidRequest):
        _ = wish.question


def test_a_mean_of_a_band_is_of_its_number():
    wish = Wish(mean="AgeBand", by=("PatientSex",))

    assert wish.summarised == "PatientAge"
    assert list(wish.question.group_by) == ["PatientSex", "PatientAge"]
