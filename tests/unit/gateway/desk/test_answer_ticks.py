"""How long an answer takes says nothing of how it was made. The clock is the test's own."""

from datetime import UTC, datetime
from random import Random

import pytest

from gateway.desk.book import Book
from gateway.desk.questions import Questions
from gateway.desk.ticks import TICK_SECONDS, due
from protos.v1.question_pb2 import (
    ANSWER_STATE_REFUSED_BUDGET,
    ANSWER_STATE_VALUE,
    Answer,
    Question,
)

# What making an answer takes, in seconds: from, to.
WORK = {"stored": (0.0001, 0.001), "refused": (0.0002, 0.002), "counted": (0.02, 0.3)}
STATES = {
    "stored": ANSWER_STATE_VALUE,
    "refused": ANSWER_STATE_REFUSED_BUDGET,
    "counted": ANSWER_STATE_VALUE,
}


class Clock:
    """Time that passes only where the test, or the work, lets it."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Slowly:
    """Answers as named by the question, and takes the time such an answer takes."""

    def __init__(self, clock, draw) -> None:
        self.clock, self.draw = clock, draw

    def answer(self, question):
        how = question.question_id.partition("-")[0]
        self.clock.seconds += self.draw.uniform(*WORK[how])
        return Answer(question_id=question.question_id, state=STATES[how])


class Anybody:
    def asker(self, question):
        return question.requester


class NoTrail:
    def record(self, *_, **__) -> None: ...


@pytest.fixture
def desk(tmp_path):
    clock = Clock()
    book = Book.open(tmp_path / "desk.db")
    questions = Questions(
        book,
        Slowly(clock, Random(7)),
        NoTrail(),
        Anybody(),
        lambda: datetime(2026, 11, 23, tzinfo=UTC),
        elapsed=clock,
    )
    yield questions, book, clock
    book.close()


def delay_of(desk, name, start):
    """Ask at a moment, and return after how long the answer is to be had."""
    questions, book, clock = desk
    clock.seconds = start
    questions.take(Question(question_id=name))
    while not any(report.subject == name for report in book.outbox()):
        if not questions.work():
            clock.seconds += max(questions.pause() or 0.0, 1e-6)
    return clock.seconds - start


def test_a_stored_a_refused_and_a_counted_answer_take_the_same(desk):
    draw = Random(1)

    delays = {
        round(delay_of(desk, f"{how}-{n}", 200.0 + 10 * n + draw.random()), 4)
        for how in WORK
        for n in range(20)
    }

    assert delays == {TICK_SECONDS}


def test_a_count_that_takes_longer_than_a_tick_waits_for_the_next():
    assert due(10.0, 10.4, 0.5) == 10.5
    assert due(10.0, 10.6, 0.5) == 11.0
    assert due(10.0, 10.0, 0.5) == 10.5
    assert due(10.0, 10.2, 0.0) == 10.2


def test_questions_that_come_together_do_not_wait_for_one_another(desk):
    questions, book, clock = desk
    for n in range(20):
        questions.take(Question(question_id=f"refused-{n}"))
        clock.seconds += 0.001
    questions.work()

    clock.seconds = 100.0 + TICK_SECONDS + 0.005
    questions.work()
    early = len(book.outbox())
    clock.seconds += 0.02
    questions.work()

    assert 1 <= early < 20
    assert len(book.outbox()) == 20


def test_an_answer_that_waited_when_the_power_failed_is_made_again(desk):
    questions, book, clock = desk
    questions.take(Question(question_id="counted-1"))
    questions.work()
    assert book.outbox() == []

    again = Questions(
        book,
        Slowly(clock, Random(8)),
        NoTrail(),
        Anybody(),
        lambda: datetime(2026, 11, 23, tzinfo=UTC),
        elapsed=clock,
    )
    again.work()
    clock.seconds += 2 * TICK_SECONDS
    again.work()

    (report,) = book.outbox()
    assert Answer.FromString(report.body).state == ANSWER_STATE_VALUE
