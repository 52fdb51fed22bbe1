"""A turned noise key never gives a second draw of a question, and draws every new one."""

import os
from datetime import UTC, datetime
from fractions import Fraction
from random import Random

import pytest

from gateway.cohort.privacy import Price, PrivacyLedger
from gateway.keys import Purpose, SiteSecret

SECRET = SiteSecret(bytes(range(32)))
PRICE = Price(Fraction(1, 200), Fraction(100), Fraction(100))
SIGMA = Fraction(10)
QUESTIONS = [bytes([n]) * 32 for n in range(4)]
SEEDS = range(int(os.environ.get("RADFED_TRIALS", "8")))


class PowerFailed(Exception):
    """Stands for a SIGKILL between two steps."""


class World:
    """A ledger on a disk, a clock, and data that moves between any two readings."""

    def __init__(self, path, secret=SECRET):
        self.path = path
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        self.patients = 137
        self.secret = secret
        self.ledger = self.another()

    def another(self):
        """Open the ledger as one more process does."""
        keys = lambda version: self.secret.subkey(Purpose.NOISE, version)  # noqa: E731 - one line
        return PrivacyLedger.open(self.path, keys, lambda: self.now)

    def ask(self, question=QUESTIONS[0], ledger=None):
        return (ledger or self.ledger).answer(question, "alice", PRICE, SIGMA, self._count)

    def ask_and_fail(self, question):
        """Lose the power after the charge, before anything is drawn."""
        with pytest.raises(PowerFailed):
            self.ledger.answer(question, "alice", PRICE, SIGMA, self._fail)

    def turn(self, ledger=None):
        turns = (ledger or self.ledger).turns
        version, _who = turns.turn(self.now, "li")
        turns.tell(version)
        return version

    def restart(self):
        self.ledger.close()
        self.ledger = self.another()

    def _count(self):
        self.patients += 1
        return {(): self.patients}

    def _fail(self):
        raise PowerFailed


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "privacy.db")


def test_what_was_answered_is_replayed_after_a_turn_and_costs_nothing(world):
    first, spent = world.ask(), world.ledger.spent(2026)

    assert world.turn() == 2
    world.restart()

    assert world.ask() == first
    assert world.ledger.spent(2026) == spent


def test_new_questions_and_new_epochs_are_drawn_under_the_new_key(tmp_path):
    turned, still = World(tmp_path / "turned.db"), World(tmp_path / "still.db")
    assert turned.ask() == still.ask()  # the same secret, the same version
    turned.turn()

    for question in QUESTIONS[1:]:
        assert turned.ask(question).cells != still.ask(question).cells
    for world in (turned, still):
        world.now = datetime(2027, 1, 2, tzinfo=UTC)
    assert turned.ask().cells != still.ask().cells


@pytest.mark.attack
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_turned_killed_or_restarted_no_question_is_answered_twice(world, seed):
    draw, answered = Random(seed), {}
    others = [world.another(), world.another()]
    for _ in range(40):
        question = draw.choice(QUESTIONS)
        step = draw.randrange(5)
        if step == 0:
            world.turn(draw.choice(others))  # beside a running gateway, in another process
        elif step == 1 and (question, world.ledger.epoch) not in answered:
            world.ask_and_fail(question)
        elif step == 2:
            world.restart()
        elif step == 3 and draw.random() < 0.1:
            world.now = datetime(2027, draw.choice([1, 4, 7]), 2, tzinfo=UTC)
        else:
            found = world.ask(question, draw.choice([world.ledger, *others]))
            epoch = world.ledger.epoch
            assert answered.setdefault((question, epoch), found.cells) == found.cells

    assert world.ledger.turns.newest() > 1


def test_a_question_drawn_twice_at_once_has_the_answer_that_was_stored_first(world):
    """Two processes pass the charge, one before a turn and one after it; one answer comes of it."""
    other = world.another()
    inner = []

    def count_while_another_answers():
        world.turn(other)
        inner.append(world.ask(ledger=other))
        return {(): 500}

    outer = world.ledger.answer(QUESTIONS[0], "alice", PRICE, SIGMA, count_while_another_answers)

    assert outer == inner[0] == world.ask()
    assert world.ledger.spent(2026) == PRICE.rho


def test_a_turn_that_a_stop_kept_off_the_trail_is_gone_on_with(world):
    assert world.ledger.turns.turn(world.now, "li") == (2, "li")
    world.restart()

    assert world.ledger.turns.turn(world.now, "zhang") == (2, "li")
    world.ledger.turns.tell(2)
    assert world.ledger.turns.turn(world.now, "zhang") == (3, "zhang")
