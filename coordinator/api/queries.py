"""QueryService: asks the federation on an operator's behalf."""

from collections.abc import AsyncIterator

from coordinator.federation.desk import QuestionDesk
from coordinator.federation.fleet import Fleet
from coordinator.federation.foresight import Foresight
from coordinator.federation.rules import check_question
from coordinator.model import Caller
from protos.v1.federation_pb2 import (
    AskedQuestion,
    AskQuestionRequest,
    AskQuestionResponse,
    ExplainQuestionRequest,
    ExplainQuestionResponse,
    ListQuestionsRequest,
    ListQuestionsResponse,
)
from protos.v1.question_pb2 import Question

HISTORY = 100
HISTORY_AT_MOST = 1000


class QueryServicer:
    def __init__(
        self, fleet: Fleet, desk: QuestionDesk, foresight: Foresight, deadline_seconds: int
    ) -> None:
        self._fleet = fleet
        self._desk = desk
        self._foresight = foresight
        self._deadline_seconds = deadline_seconds

    async def ask_question(
        self, caller: Caller, request: AskQuestionRequest
    ) -> AsyncIterator[AskQuestionResponse]:
        sites = self._fleet.chosen(frozenset(request.sites))
        deadline = request.deadline_seconds or self._deadline_seconds
        async for said in self._desk.ask(
            request.question,
            sites,
            deadline,
            caller,
            quorum=request.quorum,
            summarise=request.summarise,
        ):
            yield said

    async def explain_question(
        self, caller: Caller, request: ExplainQuestionRequest
    ) -> ExplainQuestionResponse:
        check_question(request.question)
        sites = self._fleet.chosen(frozenset(request.sites))
        expected = await self._foresight.expect(request.question, sites, caller)
        return ExplainQuestionResponse(expectations=expected)

    async def list_questions(
        self, caller: Caller, request: ListQuestionsRequest
    ) -> ListQuestionsResponse:
        limit = min(request.limit or HISTORY, HISTORY_AT_MOST)
        response = ListQuestionsResponse()
        for record in await self._desk.newest(limit, caller):
            line = AskedQuestion(
                question=Question.FromString(record.body),
                answered=record.answered,
                asked=record.asked,
            )
            line.asked_at.FromNanoseconds(int(record.asked_at * 1e9))
            response.questions.append(line)
        return response
