"""Whether one patient is in a hospital: what askers can find out, and the bound they cannot pass.

Every attack plays many games with fresh keys. In half of them the target is there, in half not; the
attacker asks what it likes and says yes or no. Under zero-concentrated differential privacy at rho,
TPR - FPR is at most 2 Phi(sqrt(rho / 2)) - 1 (two Gaussians rho apart); the same attacks against a
gateway with a threshold of 10 and no noise win. RADFED_GAMES plays more (`make attack`: 120).
"""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from secrets import token_bytes
from statistics import NormalDist

import pytest

from gateway.cohort.answers import Answers
from gateway.cohort.count import count
from gateway.cohort.privacy import PrivacyLedger
from gateway.cohort.rules import canonical
from gateway.policy import Policy
from gateway.policy import Questions as QuestionRules
from gateway.store.index import Index
from gateway.store.tally import Tally
from protos.v1.question_pb2 import Answer, AnswerState, CountUnit, Operator, Predicate, Question
from protos.vocabulary import FIELDS
from tests.fakes.hospital import facts

pytestmark = pytest.mark.attack

GAMES = int(os.environ.get("RADFED_GAMES", "60"))  # of each kind: target there, target not there
FEWEST = 30  # with fewer, three standard errors reach past a certain win, and nothing could fail
RHO_A_YEAR = 1.0
SITE = 60
TARGET = {"sex": "F", "age_years": 57, "study_year": 2019, "manufacturer": "SIEMENS"}
EQUAL, NOT, AT_LEAST, IN = (
    Operator.OPERATOR_EQUAL,
    Operator.OPERATOR_NOT_EQUAL,
    Operator.OPERATOR_GREATER_OR_EQUAL,
    Operator.OPERATOR_IN,
)
VALUE = AnswerState.ANSWER_STATE_VALUE


def asked(
    *where: tuple[str, "Operator.ValueType", list[str]], by: tuple[str, ...] = ()
) -> Question:
    predicates = [Predicate(field=f, operator=o, values=v) for f, o, v in where]
    return Question(unit=CountUnit.COUNT_UNIT_PATIENTS, where=predicates, group_by=by)


WOMEN = ("PatientSex", EQUAL, ["F"])
THAT_YEAR = ("StudyYear", EQUAL, ["2019"])
OTHER_YEARS = ("StudyYear", NOT, ["2019"])


class Game:
    """A hospital under attack: real index, real answers, a ledger and a key of this game alone."""

    def __init__(self, home: Path, index: Index) -> None:
        self._home = home
        self.index = index
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self._key = token_bytes(32)
        rules = QuestionRules(rho_per_year=RHO_A_YEAR, requester_share=1.0)
        self._policy = Policy(questions=rules)
        self.start()

    def start(self) -> None:
        """Begin, or begin again: only what is on disk is remembered."""
        self._ledger = PrivacyLedger.open(self._home / "privacy.db", self._key, lambda: self.now)
        self._answers = Answers(lambda: self._policy, Tally(self.index), self._ledger)

    def restart(self) -> None:
        self._ledger.close()
        self.start()

    def ask(self, question: Question, requester: str = "mallory") -> Answer:
        question.requester = requester
        return self._answers.answer(question)

    def number(self, question: Question, requester: str = "mallory") -> float:
        """Return what is shown; where nothing is, the attacker takes half the threshold."""
        return _number(self.ask(question, requester))

    @property
    def spent(self) -> float:
        return float(self._ledger.spent(self.now.year))

    def close(self) -> None:
        self._ledger.close()


class Plain(Game):
    """The control: true counts, hidden below 10."""

    def ask(self, question: Question, requester: str = "mallory") -> Answer:
        del requester
        found = count(canonical(question), Tally(self.index), 1)
        answer = Answer(state=VALUE)
        for labels, true in found.items():
            cell = answer.cells.add(values=labels)
            if true >= 10:
                cell.count = true
        return answer


def _number(answer: Answer) -> float:
    (cell,) = answer.cells
    return float(cell.count) if cell.HasField("count") else 5.0


# The attacks: each returns how much speaks for the target being there, above 0.5 or below.


def differencing(game: Game) -> float:
    """Everybody, less everybody of the years in which the target alone was not seen."""
    return game.number(asked(WOMEN)) - game.number(asked(WOMEN, OTHER_YEARS))


def averaging(game: Game) -> float:
    """The same two questions again and again."""
    return sum(differencing(game) for _ in range(25)) / 25


def rewriting(game: Game) -> float:
    """The same two questions in 400 spellings."""
    return _averaged(game, _spelled)


def loosening(game: Game) -> float:
    """Near misses: conditions everybody meets but whose image does not say; each is charged."""
    return _averaged(game, _loosened)


def _averaged(game: Game, spelled: Callable[[random.Random, list], list]) -> float:
    draw = random.Random(7)
    differences = [
        game.number(asked(*spelled(draw, [WOMEN])))
        - game.number(asked(*spelled(draw, [WOMEN, OTHER_YEARS])))
        for _ in range(200)
    ]
    return sum(differences) / len(differences)


def _spelled(draw: random.Random, where: list) -> list:
    """Say the same with twins, other orders, and what follows from the rest."""
    twins = [("PatientSex", IN, ["F"] * n) for n in range(1, 6)]
    other = [("PatientSex", NOT, ["M"]), ("PatientSex", IN, ["M", "F"]), WOMEN]
    said = where + draw.sample(twins + other, draw.randint(0, 6 - len(where)))
    draw.shuffle(said)
    return said


def _loosened(draw: random.Random, where: list) -> list:
    every = [*FIELDS["Modality"].bins]
    more = [
        ("PatientAge", AT_LEAST, [str(-draw.randint(1, 10**6))]),
        ("SliceThickness", AT_LEAST, [f"-{draw.random():.6f}"]),
        ("Modality", IN, draw.sample(every, len(every))),
    ]
    return where + draw.sample(more, draw.randint(0, len(more)))


def colluding(game: Game) -> float:
    """Fifty requesters ask alike, and put together what they heard."""
    differences = [
        game.number(asked(WOMEN), f"asker-{n}")
        - game.number(asked(WOMEN, OTHER_YEARS), f"asker-{n}")
        for n in range(50)
    ]
    return sum(differences) / len(differences)


def restarting(game: Game) -> float:
    """Ask, pull the plug, ask again: is the noise drawn anew?"""
    differences = []
    for _ in range(8):
        differences.append(differencing(game))
        game.restart()
    return sum(differences) / len(differences)


def margins(game: Game) -> float:
    """A cell that is hidden is a margin less the cells that are shown."""
    by_year = game.ask(asked(WOMEN, by=("StudyYear",)))
    shown = sum(c.count for c in by_year.cells if c.values[0] != "2019" and c.HasField("count"))
    return game.number(asked(WOMEN)) - shown


ATTACKS = (differencing, averaging, rewriting, loosening, colluding, restarting, margins)
LONG = {rewriting, loosening}  # 400 questions a game


def _patients(*, there: bool) -> list:
    """Sixty patients of one year, women and men; the target is the only one of another."""
    others = [
        facts(n, patient=f"p{n}", sex="FM"[n % 2], study_year=2024, age_years=40 + n % 30)
        for n in range(SITE)
    ]
    return others + ([facts(999, patient="target", **TARGET)] if there else [])


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[bool, Index]]:
    home = Path(tempfile.mkdtemp(prefix="radfed-worlds-"))
    found = {}
    for there in (True, False):
        found[there] = Index.open(home / f"{there}.db")
        found[there].add(_patients(there=there))
    yield found
    shutil.rmtree(home)


@contextmanager
def a_game(kind: type[Game], index: Index) -> Iterator[Game]:
    shared = Path("/dev/shm")  # a game's ledger has no other life
    with tempfile.TemporaryDirectory(dir=shared if shared.exists() else None) as home:
        game = kind(Path(home), index)
        yield game
        game.close()


def played(
    kind: type[Game], attack: Callable[[Game], float], worlds: dict[bool, Index], games: int
) -> tuple[float, float]:
    """Return TPR - FPR, and the most rho that a game spent."""
    yes, most = {True: 0, False: 0}, 0.0
    for there, index in worlds.items():
        for _ in range(games):
            with a_game(kind, index) as game:
                yes[there] += attack(game) > 0.5
                most = max(most, game.spent)
    return (yes[True] - yes[False]) / games, most


def bound(rho: float, games: int) -> float:
    return 2 * NormalDist().cdf(sqrt(rho / 2)) - 1 + 3 * sqrt(2 * 0.25 / games)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_attack_passes_its_bound_and_all_beat_a_bare_threshold(attack, worlds):
    games = max(FEWEST, GAMES // 4) if attack in LONG else GAMES
    advantage, rho = played(Game, attack, worlds, games)
    assert 0 < rho <= RHO_A_YEAR
    assert advantage <= bound(rho, games), f"{advantage:.2f} at rho {rho:.3f}"
    control, _none = played(Plain, attack, worlds, 5)
    assert control == 1.0


@pytest.mark.parametrize("attack", [rewriting, colluding, averaging, restarting])
def test_what_is_the_same_question_is_charged_once(attack, worlds):
    with a_game(Game, worlds[True]) as game:
        attack(game)
        assert game.spent == pytest.approx(2 / (2 * 10.0**2))


def test_a_budget_that_is_spent_answers_nothing_new(worlds):
    """A whole year's budget on questions that differ: the advantage stays that of rho = 1."""
    with a_game(Game, worlds[True]) as game:
        states = [
            game.ask(
                asked(WOMEN, ("PatientAge", AT_LEAST, [f"{age}"]), ("StudyYear", NOT, [f"{y}"]))
            ).state
            for age in range(10, 90, 10)
            for y in range(2000, 2030)
        ]
        assert states.count(VALUE) + states.count(AnswerState.ANSWER_STATE_BELOW_THRESHOLD) == 200
        assert states.count(AnswerState.ANSWER_STATE_REFUSED_BUDGET) == len(states) - 200
        assert game.spent == pytest.approx(1.0)


def arriving(game: Game, *, there: bool, epochs: int) -> float:
    """Ask every quarter; the target comes after the first. What was said is not said anew."""
    before = game.number(asked(WOMEN))
    if there:
        game.index.add([facts(999, patient="target", **TARGET)])
    assert game.number(asked(WOMEN)) == before  # within the epoch nothing moves
    later = []
    for quarter in range(epochs):
        game.now = datetime(2027, 3 * quarter + 2, 1, tzinfo=UTC)
        later.append(game.number(asked(WOMEN)))
    return sum(later) / len(later) - before


def test_data_that_change_between_epochs_tell_no_more(tmp_path):
    games, yes, rho = max(FEWEST, GAMES // 4), {True: 0, False: 0}, 0.0
    for there in (True, False):
        for number in range(games):
            index = Index.open(tmp_path / f"{there}-{number}.db")
            index.add(_patients(there=False))
            with a_game(Game, index) as game:
                yes[there] += arriving(game, there=there, epochs=3) > 0.5
                rho = 4 / (2 * 10.0**2)  # four answers over two years
                assert game.spent == pytest.approx(3 / (2 * 10.0**2))
            index.close()
    assert (yes[True] - yes[False]) / games <= bound(rho, games)
