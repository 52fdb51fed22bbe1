"""What a question would cost at each hospital, as far as the centre can know: it asks nobody.

A hospital's policy is its own. What its earlier answers say of noise and price is taken from them;
where there are none, the defaults stand, and the expectation says which.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from coordinator.federation.rules import WITH_CELLS
from coordinator.model import Caller, Clock
from coordinator.store.answers import GivenAnswers, Past
from protos.price import (
    DEFAULT_REQUESTER_SHARE,
    DEFAULT_RHO_PER_YEAR,
    DEFAULT_TERMS,
    bins_moved,
    rho,
)
from protos.v1.federation_pb2 import Expectation
from protos.v1.question_pb2 import Answer, AnswerState, CountUnit, Question, Tier

UNIT_NAMES = {
    CountUnit.COUNT_UNIT_PATIENTS: "patients",
    CountUnit.COUNT_UNIT_STUDIES: "studies",
    CountUnit.COUNT_UNIT_SERIES: "series",
    CountUnit.COUNT_UNIT_INSTANCES: "instances",
    CountUnit.COUNT_UNIT_BYTES: "bytes",
}
NOISY = (Tier.TIER_UNSPECIFIED, Tier.TIER_NOISY)
ANSWERS_AT_MOST = 20_000  # remembered of one year, those to the newest questions
QUESTIONS_AT_MOST = 2000  # what was spent is then at least what is said
TOGETHER = 60  # questions read at once: of four hundred hospitals these are all
AHEAD_SECONDS = 60.0  # a clock that was set back has asked in the future
OFFLINE, NO_BUDGET = (
    AnswerState.ANSWER_STATE_OFFLINE,
    AnswerState.ANSWER_STATE_REFUSED_BUDGET,
)
PICO = 10**12  # what was spent is added in whole parts of rho: a sum of floats would drift


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer told of noise and price: the figures are not looked at."""

    state: int
    rule: str
    epoch: str
    sigma: float
    rho: float

    @classmethod
    def of(cls, answer: Answer) -> "Said":
        return cls(answer.state, answer.rule, answer.epoch, answer.sigma, answer.rho)


@dataclass(frozen=True, slots=True)
class Before:
    """An earlier question, in what matters to a later one."""

    organisation: str
    unit: int
    noisy: bool
    form: bytes
    shape: tuple[int, int, frozenset[str]]
    moved: int

    @classmethod
    def of(cls, organisation: str, question: Question) -> "Before":
        return cls(
            organisation,
            question.unit,
            question.tier in NOISY,
            _form(question),
            _shape(question),
            bins_moved(question.group_by),
        )


Earlier = tuple[Before, Said]  # who asked what, and what the hospital said


class Foresight:
    """Looks at this year's answers on behalf of whoever is about to ask; remembers what is over."""

    def __init__(
        self,
        given: GivenAnswers,
        connected: Callable[[], frozenset[str]],
        clock: Clock,
    ) -> None:
        self._given = given
        self._connected = connected
        self._clock = clock
        self._over: dict[str, tuple[Before, Mapping[str, Said]]] = {}
        self._reading = asyncio.Lock()

    async def expect(
        self, question: Question, sites: Collection[str], by: Caller
    ) -> list[Expectation]:
        now = datetime.fromtimestamp(self._clock(), UTC)
        earlier = await self.remembered()
        epoch, here = f"{now.year}Q{(now.month + 2) // 3}", self._connected()

        def expectations() -> list[Expectation]:
            of_site: dict[str, list[Earlier]] = {site: [] for site in sites}
            for before, answers in earlier:
                for site, said in answers.items():
                    if site in of_site:
                        of_site[site].append((before, said))
            return [
                expectation(
                    site, question, of_site[site], by.organisation, epoch, here=site in here
                )
                for site in sorted(sites)
            ]

        return await asyncio.to_thread(expectations)  # a year's answers: a while of the loop

    async def warm(self) -> None:
        """Read what is over before somebody asks: a year's answers take seconds."""
        await self.remembered()

    async def remembered(self) -> list[tuple[Before, Mapping[str, Said]]]:
        """Return this year's questions, the newest first, with what each hospital said."""
        now = self._clock()
        year = datetime(datetime.fromtimestamp(now, UTC).year, 1, 1, tzinfo=UTC).timestamp()
        async with self._reading:
            found: list[tuple[Before, Mapping[str, Said]]] = []
            held: dict[str, tuple[Before, Mapping[str, Said]]] = {}
            answers, before = 0, now + AHEAD_SECONDS
            while answers < ANSWERS_AT_MOST and len(found) < QUESTIONS_AT_MOST:
                some = await self._given.since(year, before, TOGETHER)
                if not some:
                    break
                read = await self._read([one for one in some if one.question_id not in self._over])
                for past in some:
                    known = self._over.get(past.question_id) or read[past.question_id]
                    if past.expires_at < now:
                        held[past.question_id] = known
                    found.append(known)
                    answers += len(known[1])
                before = some[-1].asked_at
            self._over = held
            return found

    async def _read(self, asked: list[Past]) -> dict[str, tuple[Before, Mapping[str, Said]]]:
        if not asked:
            return {}
        rows = await self._given.of([past.question_id for past in asked])

        def read() -> dict[str, tuple[Before, Mapping[str, Said]]]:
            said: dict[str, dict[str, Said]] = {past.question_id: {} for past in asked}
            for name, site, answer in rows:
                said[name][site] = Said.of(Answer.FromString(answer))
            return {
                past.question_id: (
                    Before.of(past.organisation, Question.FromString(past.question)),
                    said[past.question_id],
                )
                for past in asked
            }

        return await asyncio.to_thread(read)


def expectation(
    site: str,
    question: Question,
    earlier: Collection[Earlier],
    organisation: str,
    epoch: str,
    *,
    here: bool,
) -> Expectation:
    """Expect of a hospital what its answers of this year, the newest first, let one expect."""
    expected = Expectation(site=site, connected=here)
    own = [each for each in earlier if each[0].organisation == organisation]
    expected.spent_by_all, expected.spent_by_you = _spent(earlier), _spent(own)
    form = _form(question)
    if question.tier in NOISY:
        _price(expected, question, earlier)
        if any(before.form == form and said.epoch == epoch for before, said in own):
            # Of the caller's own alone: that others asked the same is not theirs to know.
            expected.is_repeat, expected.rho = True, 0.0
        year = DEFAULT_RHO_PER_YEAR
        expected.left_for_you = max(
            0.0,
            min(
                year - expected.spent_by_all,
                year * DEFAULT_REQUESTER_SHARE - expected.spent_by_you,
            ),
        )
    expected.refused_before = _refusal(form, _shape(question), own)
    return expected


def _price(expected: Expectation, question: Question, earlier: Iterable[Earlier]) -> None:
    terms = DEFAULT_TERMS[UNIT_NAMES[question.unit]]
    expected.sigma = terms.sigma
    expected.rho = float(rho(question.group_by, terms.contribution, Fraction(repr(terms.sigma))))
    for before, said in earlier:  # the newest: a policy may have changed since older ones
        if before.noisy and before.unit == question.unit and said.state in WITH_CELLS:
            expected.sigma, expected.is_known = said.sigma, True
            expected.rho = said.rho * bins_moved(question.group_by) / before.moved
            return


def _spent(earlier: Iterable[Earlier]) -> float:
    """Add what answers cost, each question once in an epoch: a repeat was free."""
    prices = {
        (before.form, said.epoch): round(said.rho * PICO)
        for before, said in earlier
        if before.noisy and said.state in WITH_CELLS
    }
    return sum(prices.values()) / PICO


def _refusal(form: bytes, shape: tuple[int, int, frozenset[str]], own: Iterable[Earlier]) -> str:
    """Return why the hospital refused the newest question like this one; empty where it did not."""
    for before, said in own:
        if said.state == OFFLINE:
            continue
        if said.state == NO_BUDGET:
            return said.rule
        if before.form == form or before.shape == shape:
            return said.rule
    return ""


def _shape(question: Question) -> tuple[int, int, frozenset[str]]:
    fields = {each.field for each in question.where} | set(question.group_by)
    return question.unit, question.tier or Tier.TIER_NOISY, frozenset(fields)


def _form(question: Question) -> bytes:
    """Return what is asked, without who asks and in which order: the hospitals' form is finer."""
    bare = Question(unit=question.unit, tier=question.tier or Tier.TIER_NOISY)
    bare.where.extend(
        sorted(question.where, key=lambda each: each.SerializeToString(deterministic=True))
    )
    bare.group_by.extend(sorted(question.group_by))
    return bare.SerializeToString(deterministic=True)
