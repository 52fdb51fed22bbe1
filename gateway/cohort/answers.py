"""One question in, one answer out: policy, budget, count, noise, threshold, in this order."""

from collections.abc import Callable
from fractions import Fraction

from gateway.cohort.count import count
from gateway.cohort.privacy import Exhausted, NoisyCounts, Price, PrivacyLedger
from gateway.cohort.rules import Canonical, NotSupported, Unit, canonical, cost
from gateway.policy import Policy, exact
from gateway.policy import Unit as UnitPolicy
from gateway.store.tally import Tally
from protos.v1 import question_pb2


class Answers:
    """Answers a federation's questions about this hospital."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        tally: Tally,
        privacy: PrivacyLedger,
        is_rotating: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what to count and by which rules; while keys rotate, a patient has two names."""
        self._policy = policy
        self._tally = tally
        self._privacy = privacy
        self._is_rotating = is_rotating

    def answer(self, question: question_pb2.Question) -> question_pb2.Answer:
        """Return exactly one of the answer states; nothing is computed before it is paid for."""
        asked = canonical(question)
        if isinstance(asked, NotSupported):
            return _refusal(question, question_pb2.ANSWER_STATE_NOT_SUPPORTED, asked.rule)
        if (rule := self._refusal_of_policy(asked)) is not None:
            return _refusal(question, question_pb2.ANSWER_STATE_REFUSED_POLICY, rule)
        unit = self._unit(asked.unit)
        sigma = exact(unit.sigma)
        price = self._price(cost(asked, unit.contribution, sigma))
        found = self._privacy.answer(
            asked.digest,
            question.requester,
            price,
            sigma,
            lambda: count(asked, self._tally, unit.contribution),
        )
        if isinstance(found, Exhausted):
            return _refusal(question, question_pb2.ANSWER_STATE_REFUSED_BUDGET, found.rule)
        return self._shown(question, found)

    def noisy_patients(self, what: str, requester: str, true: int) -> int | Exhausted:
        """Return how many patients a job has, as the budget allows it to be said."""
        sigma = exact(self._policy().patients().sigma)
        price = self._price(1 / (2 * sigma**2))
        return self._privacy.side_count(what, requester, price, sigma, true)

    def _refusal_of_policy(self, asked: Canonical) -> str | None:
        if not self._policy().questions.enabled:
            return "questions_disabled"
        if asked.fields & self._policy().questions.refused_fields:
            return "field_refused"
        return "rotation_under_way" if self._is_rotating() else None

    def _unit(self, unit: Unit) -> UnitPolicy:
        questions = self._policy().questions
        return {
            Unit.PATIENTS: self._policy().patients(),
            Unit.STUDIES: questions.studies,
            Unit.SERIES: questions.series,
            Unit.INSTANCES: questions.instances,
        }[unit]

    def _price(self, rho: Fraction) -> Price:
        year = exact(self._policy().questions.rho_per_year)
        return Price(rho, year, year * exact(self._policy().questions.requester_share))

    def _shown(self, question: question_pb2.Question, found: NoisyCounts) -> question_pb2.Answer:
        """Decide "below the threshold" on the noisy value: the true one decides nothing here."""
        order = [sorted(question.group_by).index(name) for name in question.group_by]
        cells = [
            self._cell([labels[place] for place in order], noisy)
            for labels, noisy in found.cells.items()
        ]
        shown = any(cell.HasField("count") for cell in cells)
        return question_pb2.Answer(
            question_id=question.question_id,
            state=question_pb2.ANSWER_STATE_VALUE
            if shown
            else question_pb2.ANSWER_STATE_BELOW_THRESHOLD,
            cells=cells,
            sigma=float(found.sigma),
            rho=float(found.rho),
            epoch=found.epoch,
        )

    def _cell(self, labels: list[str], noisy: int) -> question_pb2.Cell:
        if noisy >= self._policy().questions.threshold:
            return question_pb2.Cell(
                values=labels, state=question_pb2.ANSWER_STATE_VALUE, count=noisy
            )
        return question_pb2.Cell(values=labels, state=question_pb2.ANSWER_STATE_BELOW_THRESHOLD)


def _refusal(
    question: question_pb2.Question, state: question_pb2.AnswerState.ValueType, rule: str
) -> question_pb2.Answer:
    return question_pb2.Answer(question_id=question.question_id, state=state, rule=rule)
