"""What a question would cost at each hospital, as far as the centre can know: it asks nobody.

A hospital's policy is its own. What its earlier answers say of noise and price is taken from them;
where there are none, the defaults stand, and the expectation says which.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from fractions import Fraction

from coordinator.federation.rules import WITH_CELLS
from coordinator.model import Caller, Clock
from coordinator.store.answers import Given, GivenAnswers
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
Earlier = tuple[str, Question, Answer]  # who asked, what, and what the hospital said


class Foresight:
    """Looks at this year's answers on behalf of whoever is about to ask."""

    def __init__(
        self,
        given: GivenAnswers,
        connected: Callable[[], frozenset[str]],
        clock: Clock,
    ) -> None:
        self._given = given
        self._connected = connected
        self._clock = clock

    async def expect(
        self, question: Question, sites: Collection[str], by: Caller
    ) -> list[Expectation]:
        now = datetime.fromtimestamp(self._clock(), UTC)
        year = datetime(now.year, 1, 1, tzinfo=UTC).timestamp()
        given = await self._given.since(year, sites)
        epoch, here = f"{now.year}Q{(now.month + 2) // 3}", self._connected()

        def expectations() -> list[Expectation]:
            earlier: dict[str, list[Earlier]] = {site: [] for site in sites}
            for each in given:
                earlier[each.site].append(_read(each))
            return [
                expectation(
                    site, question, earlier[site], by.organisation, epoch, here=site in here
                )
                for site in sorted(sites)
            ]

        return await asyncio.to_thread(expectations)  # a year's answers: seconds of the loop


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
    own = [each for each in earlier if each[0] == organisation]
    expected.spent_by_all, expected.spent_by_you = float(_spent(earlier)), float(_spent(own))
    if question.tier in NOISY:
        _price(expected, question, earlier)
        if any(_same(before, question) and answer.epoch == epoch for _, before, answer in own):
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
    expected.refused_before = _refusal(question, own)
    return expected


def _price(expected: Expectation, question: Question, earlier: Iterable[Earlier]) -> None:
    terms = DEFAULT_TERMS[UNIT_NAMES[question.unit]]
    expected.sigma = terms.sigma
    expected.rho = float(rho(question.group_by, terms.contribution, Fraction(repr(terms.sigma))))
    like = [
        (before, answer)
        for _, before, answer in earlier
        if before.unit == question.unit and before.tier in NOISY and answer.state in WITH_CELLS
    ]
    if like:  # the newest: a policy may have changed since older ones
        before, answer = like[0]
        expected.sigma, expected.is_known = answer.sigma, True
        expected.rho = answer.rho * bins_moved(question.group_by) / bins_moved(before.group_by)


def _spent(earlier: Iterable[Earlier]) -> Fraction:
    """Add what answers cost, each question once in an epoch: a repeat was free."""
    prices: dict[tuple[bytes, str], Fraction] = {}
    for _, question, answer in earlier:
        if answer.state in WITH_CELLS and question.tier in NOISY:
            prices[_form(question), answer.epoch] = Fraction(repr(answer.rho))
    return sum(prices.values(), Fraction(0))


def _refusal(question: Question, own: Iterable[Earlier]) -> str:
    """Return why the hospital refused the newest question like this one; empty where it did not."""
    for _, before, answer in own:
        if answer.state == AnswerState.ANSWER_STATE_OFFLINE:
            continue
        if answer.state == AnswerState.ANSWER_STATE_REFUSED_BUDGET:
            return answer.rule
        if _same(before, question) or (_shape(before) == _shape(question)):
            return answer.rule
    return ""


def _shape(question: Question) -> tuple[int, int, frozenset[str]]:
    fields = {each.field for each in question.where} | set(question.group_by)
    return question.unit, question.tier or Tier.TIER_NOISY, frozenset(fields)


def _same(one: Question, other: Question) -> bool:
    return _form(one) == _form(other)


def _form(question: Question) -> bytes:
    """Return what is asked, without who asks and in which order: the hospitals' form is finer."""
    bare = Question(unit=question.unit, tier=question.tier or Tier.TIER_NOISY)
    bare.where.extend(
        sorted(question.where, key=lambda each: each.SerializeToString(deterministic=True))
    )
    bare.group_by.extend(sorted(question.group_by))
    return bare.SerializeToString(deterministic=True)


def _read(given: Given) -> Earlier:
    return given.organisation, Question.FromString(given.question), Answer.FromString(given.answer)
