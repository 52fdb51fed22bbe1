"""Questions: taken durably, answered once, let go at a tick, reported until it is known."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Protocol

from gateway.audit import AuditTrail
from gateway.desk import reports
from gateway.desk.book import Book
from gateway.desk.rules import QuestionStage, Refusal, moment
from gateway.desk.signers import Signers
from gateway.desk.ticks import TICK_SECONDS, Held, due
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
        tick: float = TICK_SECONDS,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._book = book
        self._answers = answers
        self._audit = audit
        self._signers = signers
        self._now = now
        self._tick = tick
        self._elapsed = elapsed
        self._arrived: dict[str, float] = {}
        self._held: dict[str, Held] = {}

    def take(self, question: question_pb2.Question) -> bool:
        """Say whether a question is new; one that was answered before is answered once more."""
        timed = moment(question.expires_at) and moment(question.signed.expires_at)
        if not (identifies_work(question.question_id) and timed):
            self._audit.record("question_malformed")
            return False
        self._arrived.setdefault(question.question_id, self._elapsed())
        question.DiscardUnknownFields()
        body = question.SerializeToString(deterministic=True)
        is_new = self._book.take_question(question.question_id, body)
        if not is_new:
            if question.question_id not in self._held:
                self._arrived.pop(question.question_id, None)
            self._book.repeat("answer", question.question_id)
        return is_new

    def work(self) -> bool:
        """Answer whatever waits, and let go what is due; say whether anything was.

        A question found after a restart is answered now. Until its tick an answer is in memory
        alone: after a crash it is made again, and is the same.
        """
        waiting = [each for each in self._book.questions() if each[0] not in self._held]
        went = self._let_go_what_is_due()
        for question_id, body in waiting:
            self._make(question_id, question_pb2.Question.FromString(body))
            went = self._let_go_what_is_due() or went
        return went

    def _let_go_what_is_due(self) -> bool:
        ready = sorted((h.due, name) for name, h in self._held.items() if h.due <= self._elapsed())
        for _, question_id in ready:
            self._let_go(question_id, self._held.pop(question_id))
        return bool(ready)

    def pause(self) -> float | None:
        """Return how long until the next answer may leave; None where none waits."""
        if not self._held:
            return None
        return max(0.0, min(held.due for held in self._held.values()) - self._elapsed())

    def _make(self, question_id: str, question: question_pb2.Question) -> None:
        arrived = self._arrived.pop(question_id, self._elapsed())
        if question.HasField("expires_at") and self._expired(question):
            self._book.close_question(question_id, QuestionStage.EXPIRED, None)
            self._audit.record("question_expired", question=question_id)
            return
        answer = self._answer(question)
        leaves = due(arrived, self._elapsed(), self._tick)
        self._held[question_id] = Held(
            leaves, reports.of_answer(answer), answer, _printable(question.requester)
        )

    def _let_go(self, question_id: str, held: Held) -> None:
        self._book.close_question(question_id, QuestionStage.ANSWERED, held.report)
        self._audit.record(
            "question_answered",
            question=question_id,
            requester=held.requester,
            state=question_pb2.AnswerState.Name(held.answer.state),
            rule=held.answer.rule,
            rho=held.answer.rho,
        )

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
        until = moment(question.expires_at)
        return until is None or until < self._now()


def _printable(text: str) -> str:
    return "".join(c for c in text[:64] if c.isprintable())
