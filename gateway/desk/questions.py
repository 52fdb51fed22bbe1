"""Questions: taken durably, answered once, reported until the coordinator knows."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from gateway.audit import AuditTrail
from gateway.desk import reports
from gateway.desk.book import Book
from gateway.desk.rules import QuestionStage, Refusal
from gateway.desk.signers import Signers
from gateway.release.rules import identifies_work
from protos.v1 import question_pb2


class Answering(Protocol):
    def answer(self, question: question_pb2.Question) -> question_pb2.Answer: ...


class Questions:
    def __init__(
        self,
        book: Book,
        answers: Answering,
        audit: AuditTrail,
        signers: Signers,
        now: Callable[[], datetime],
    ) -> None:
        self._book = book
        self._answers = answers
        self._audit = audit
        self._signers = signers
        self._now = now

    def take(self, question: question_pb2.Question) -> bool:
        """Say whether a question is new; one that was answered before is answered once more."""
        if not identifies_work(question.question_id):
            self._audit.record("question_malformed")
            return False
        question.DiscardUnknownFields()
        body = question.SerializeToString(deterministic=True)
        is_new = self._book.take_question(question.question_id, body)
        if not is_new:
            self._book.repeat("answer", question.question_id)
        return is_new

    def work(self) -> bool:
        """Answer whatever waits; a question found after a restart is answered now."""
        waiting = self._book.questions()
        for question_id, body in waiting:
            question = question_pb2.Question.FromString(body)
            if question.HasField("expires_at") and self._expired(question):
                self._book.close_question(question_id, QuestionStage.EXPIRED, None)
                self._audit.record("question_expired", question=question_id)
                continue
            answer = self._answer(question)
            report = reports.of_answer(answer)
            self._book.close_question(question_id, QuestionStage.ANSWERED, report)
            self._audit.record(
                "question_answered",
                question=question_id,
                requester=_printable(question.requester),
                state=question_pb2.AnswerState.Name(answer.state),
                rule=answer.rule,
                rho=answer.rho,
            )
        return bool(waiting)

    def _answer(self, question: question_pb2.Question) -> question_pb2.Answer:
        """Find out who asks, by signature, before anything is looked at or charged."""
        asker = self._signers.asker(question)
        if isinstance(asker, Refusal):
            return question_pb2.Answer(
                question_id=question.question_id,
                state=question_pb2.ANSWER_STATE_REFUSED_POLICY,
                rule=asker.rule,
            )
        question.requester = asker
        return self._answers.answer(question)

    def _expired(self, question: question_pb2.Question) -> bool:
        return question.expires_at.ToDatetime(UTC) < self._now()


def _printable(text: str) -> str:
    return "".join(c for c in text[:64] if c.isprintable())
