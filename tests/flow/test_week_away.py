"""A week without the coordinator, or without a hospital, costs no work that was done."""

import asyncio

import pytest
from safetensors.numpy import load as read_tensors
from sqlalchemy import select

from coordinator.app.process import Coordinator
from coordinator.config import load
from coordinator.store.tables import round_
from protos.v1.question_pb2 import AnswerState
from tests.fakes.federation import a_federation, connected
from tests.flow.test_coordinator_questions import CT_BY_SEX, counting
from tests.flow.test_coordinator_rounds import a_bundle, moving_by, over, submit

pytestmark = pytest.mark.flow

WEEK = 7


async def deadlines(federation) -> list[float]:
    async with federation.coordinator._tables.database.reading() as connection:
        return list((await connection.execute(select(round_.c.deadline))).scalars())


async def restart(federation, directory, days: float) -> None:
    """Stop the coordinator, let days pass, and start another on the same tables."""
    await federation.coordinator.stop()
    federation.days_pass(days)
    clock = federation.coordinator._clock
    federation.coordinator = Coordinator(load(directory / "coordinator.toml"), clock)
    await federation.coordinator.start()


def test_a_round_waits_out_the_coordinators_own_absence(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path / "c", tables_in) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working = moving_by(1.0, 10)
            async with connected(alpha, beta):
                job_id = await federation.asked(submit(a_bundle(tmp_path, rounds=1)))
                await asyncio.sleep(1.0)
                (before,) = await deadlines(federation)

                beta.working = moving_by(3.0, 10)  # done while nobody listens
                await restart(federation, tmp_path / "c", WEEK)
                (after, *_) = await deadlines(federation)
                shown = await over(federation, job_id)
                model = await federation.asked(lambda client: b"".join(client.result(job_id)))
            events = list(federation.coordinator.rooms.audit.entries())
            return after - before, shown, model, events

    longer, shown, model, events = asyncio.run(story())

    assert longer == pytest.approx(WEEK * 86400, abs=60)
    assert shown.job.stage == "finished", shown
    assert read_tensors(model)["w"] == pytest.approx([2.0] * 3)
    (away,) = [event for event in events if event["event"] == "coordinator_was_away"]
    assert away["seconds"] == pytest.approx(WEEK * 86400, abs=60)


def test_a_restart_within_a_minute_moves_no_deadline(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            async with connected(alpha, beta):
                await federation.asked(submit(a_bundle(tmp_path, rounds=1)))
                await asyncio.sleep(1.0)
                before = await deadlines(federation)
                await restart(federation, tmp_path / "c", 0)
                return before, await deadlines(federation)

    before, after = asyncio.run(story())

    assert len(before) == 1
    assert before == after


def test_what_a_hospital_did_in_a_week_of_its_own_is_taken(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha = await federation.enrolled("alpha")
            answered = []

            def answering(question):
                answered.append(counting(120, 80)(question))  # computed, and then the link is cut

            alpha.answering = answering
            async with connected(alpha):
                ask = asyncio.create_task(federation.asked(lambda c: list(c.ask(CT_BY_SEX, (), 1))))
                first = await ask
            federation.days_pass(WEEK)
            alpha.say(answer=answered[0])
            async with connected(alpha):
                for _ in range(100):
                    if not alpha.unsettled:
                        break
                    await asyncio.sleep(0.05)
                (line,) = await federation.asked(lambda client: client.questions())
            return first, alpha.unsettled, line

    first, unsettled, line = asyncio.run(story())

    assert first[0].site_answer.answer.state == AnswerState.ANSWER_STATE_OFFLINE
    assert not unsettled
    assert (line.answered, line.asked) == (1, 1)
