"""Questions, from an operator through the coordinator to hospitals and back."""

import asyncio

import grpc
import pytest

from coordinator.api.parse import parse_question
from coordinator.errors import InvalidRequest
from protos.v1.link_pb2 import ConnectRequest
from protos.v1.question_pb2 import Answer, AnswerState, Cell, Predicate, Question
from tests.fakes.federation import a_federation, connected

pytestmark = pytest.mark.flow

CT_BY_SEX = parse_question("Modality = 'CT'", ["PatientSex"], "patients")


def counting(women: int, men: int):
    def answer(question: Question) -> Answer:
        cells = [
            Cell(values=[sex], state=AnswerState.ANSWER_STATE_VALUE, count=count)
            for sex, count in (("F", women), ("M", men))
        ]
        return Answer(
            question_id=question.question_id,
            state=AnswerState.ANSWER_STATE_VALUE,
            cells=cells,
            sigma=10.0,
            epoch="2026Q4",
        )

    return answer


def refusing(question: Question) -> Answer:
    return Answer(
        question_id=question.question_id,
        state=AnswerState.ANSWER_STATE_REFUSED_POLICY,
        rule="field_refused",
    )


def test_answers_are_added_and_the_margin_is_what_the_noise_leaves(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path, tables_in) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.answering, beta.answering = counting(120, 80), counting(40, 33)

            async with connected(alpha, beta):
                *answers, last = await federation.asked(lambda c: list(c.ask(CT_BY_SEX)))

            assert {each.site_answer.site for each in answers} == {"alpha", "beta"}
            totals = {tuple(cell.values): cell for cell in last.total.cells}
            assert (totals["F",].count, totals["M",].count) == (160, 113)
            assert totals["F",].margin == pytest.approx(1.96 * 200**0.5, rel=1e-3)
            assert (last.total.answered, last.total.asked) == (2, 2)

    asyncio.run(story())


def test_who_refuses_and_who_is_away_is_named(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha, beta, _ = [
                await federation.enrolled(name) for name in ("alpha", "beta", "gamma")
            ]
            alpha.answering, beta.answering = counting(120, 80), refusing

            async with connected(alpha, beta):
                *answers, last = await federation.asked(lambda c: list(c.ask(CT_BY_SEX)))

            states = {each.site_answer.site: each.site_answer.answer.state for each in answers}
            assert states == {
                "alpha": AnswerState.ANSWER_STATE_VALUE,
                "beta": AnswerState.ANSWER_STATE_REFUSED_POLICY,
                "gamma": AnswerState.ANSWER_STATE_OFFLINE,
            }
            assert (last.total.answered, last.total.asked) == (1, 3)

    asyncio.run(story())


def test_a_quorum_ends_the_waiting_and_a_price_is_told_from_what_came(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.answering, beta.answering = counting(120, 80), lambda _: None

            async with connected(alpha, beta):
                *answers, last = await federation.asked(
                    lambda c: list(c.ask(CT_BY_SEX, deadline_seconds=60, quorum=1))
                )
                told = await federation.asked(lambda c: c.explain(CT_BY_SEX))

            rules = {each.site_answer.site: each.site_answer.answer.rule for each in answers}
            assert rules == {"alpha": "", "beta": "quorum_reached"}
            assert (last.total.answered, last.asked) == (1, 2)
            assert [(e.site, e.is_known, e.sigma) for e in told] == [
                ("alpha", True, 10.0),
                ("beta", False, 10.0),
            ]

    asyncio.run(story())


def test_a_mean_is_taken_from_the_hospitals_histograms(tmp_path):
    def by_age(question: Question) -> Answer:
        cells = [
            Cell(values=[label], state=AnswerState.ANSWER_STATE_VALUE, count=count)
            for label, count in (("40-50", 100), ("60-70", 100))
        ]
        state = AnswerState.ANSWER_STATE_VALUE
        return Answer(question_id=question.question_id, state=state, cells=cells, sigma=10.0)

    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            alpha.answering = by_age
            ages = parse_question("", ["AgeBand"], "patients")

            async with connected(alpha):
                *_, last = await federation.asked(
                    lambda c: list(c.ask(ages, summarise="PatientAge"))
                )
                with pytest.raises(InvalidRequest, match="a mean is taken of a number"):
                    await federation.asked(lambda c: list(c.ask(ages, summarise="Modality")))

            (summary,) = last.total.summaries
            assert summary.mean.value == 55
            assert summary.mean.low < 50
            assert summary.mean.high > 60

    asyncio.run(story())


def test_a_late_answer_is_kept(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path, tables_in) as federation:
            alpha = await federation.enrolled("alpha")
            alpha.answering = lambda _: None
            async with connected(alpha):
                await federation.asked(lambda c: list(c.ask(CT_BY_SEX, deadline_seconds=1)))
                (before,) = await federation.asked(lambda c: c.questions())

                report = alpha.say(answer=counting(5, 5)(before.question))
                await until(lambda: report in alpha.settled)
                (after,) = await federation.asked(lambda c: c.questions())

            assert (before.answered, after.answered) == (0, 1)
            assert after.question.requester == "spiffe://demo/operator/operator"

    asyncio.run(story())


def test_a_gateway_that_comes_back_in_time_is_asked_again(tmp_path):
    async def story():
        async with a_federation(tmp_path, "") as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.answering, beta.answering = counting(120, 80), counting(1, 2)
            async with connected(alpha):
                asking = asyncio.create_task(
                    federation.asked(lambda c: list(c.ask(CT_BY_SEX, deadline_seconds=20)))
                )
                await asyncio.sleep(0.5)

                async with connected(beta):
                    *_, last = await asking

            assert last.total.answered == 2

    asyncio.run(story())


def test_an_answer_nobody_asked_for_changes_nothing(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.answering = counting(10, 20)
            async with connected(alpha, beta):
                only = ["alpha"]
                *_, last = await federation.asked(lambda c: list(c.ask(CT_BY_SEX, only)))
                (asked,) = await federation.asked(lambda c: c.questions())

                forged = beta.say(answer=counting(1000, 1000)(asked.question))
                await until(lambda: forged in beta.settled)
                (after,) = await federation.asked(lambda c: c.questions())

            assert last.total.asked == after.answered == 1
            events = [entry["event"] for entry in federation.coordinator.rooms.audit.entries()]
            assert "answer_refused" in events

    asyncio.run(story())


@pytest.mark.parametrize(
    "question",
    [
        Question(unit=1, where=[Predicate(field="PatientName", operator=1, values=["X"])]),
        Question(unit=1, where=[Predicate(field="Modality", operator=1, values=["' OR 1=1 --"])]),
        Question(unit=1, where=[Predicate(field="Modality", operator=3, values=["CT"])]),
        Question(unit=1, group_by=["Modality", "PatientSex", "StudyYear"]),
        Question(unit=9),
        Question(),
    ],
)
def test_what_the_vocabulary_does_not_hold_reaches_no_hospital(tmp_path, question):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            async with connected(alpha):
                with pytest.raises(InvalidRequest):
                    await federation.asked(lambda c: list(c.ask(question)))

            assert not [message for message in alpha.seen if message.HasField("question")]

    asyncio.run(story())


def test_a_report_without_a_name_ends_the_stream_with_a_sentence(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            running = asyncio.create_task(alpha.run())
            await asyncio.wait_for(alpha.welcomed.wait(), 5)

            alpha.say_raw(ConnectRequest(answer=Answer(question_id="x")))

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asyncio.wait_for(running, 5)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(story())


async def until(claim, seconds: float = 10.0):
    for _ in range(int(seconds / 0.02)):
        if claim():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come true in time")
