"""One question in, one answer out: policy, budget, count, noise, threshold, in this order."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

from gateway.cohort import cube
from gateway.cohort.count import count
from gateway.cohort.exact import ExactTables
from gateway.cohort.privacy import Exhausted, NoisyCounts, Price, PrivacyLedger
from gateway.cohort.rules import Canonical, NotSupported, Unit, canonical, cost
from gateway.cohort.suppression import Unsafe
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
        *,
        exact_tables: ExactTables | None = None,
    ) -> None:
        """Take what to count and by which rules; while keys rotate, a patient has two names.

        Without exact tables, none are given.
        """
        self._policy = policy
        self._tally = tally
        self._privacy = privacy
        self._is_rotating = is_rotating
        self._exact_tables = exact_tables

    def answer(self, question: question_pb2.Question) -> question_pb2.Answer:
        """Return exactly one of the answer states; nothing is computed before it is paid for."""
        asked = canonical(question)
        if isinstance(asked, NotSupported):
            return _refusal(question, question_pb2.ANSWER_STATE_NOT_SUPPORTED, asked.rule)
        if (rule := self._refusal_of_policy(asked)) is not None:
            return _refusal(question, question_pb2.ANSWER_STATE_REFUSED_POLICY, rule)
        tiers = {
            question_pb2.TIER_UNSPECIFIED: self._noisy,
            question_pb2.TIER_NOISY: self._noisy,
            question_pb2.TIER_PUBLIC: self._public,
            question_pb2.TIER_EXACT: self._exact,
        }
        if question.tier not in tiers:
            return _refusal(question, question_pb2.ANSWER_STATE_NOT_SUPPORTED, "unknown_tier")
        return tiers[question.tier](question, asked)

    def _noisy(self, question: question_pb2.Question, asked: Canonical) -> question_pb2.Answer:
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

    def _public(self, question: question_pb2.Question, asked: Canonical) -> question_pb2.Answer:
        """Read one of the public tables; the first reader of an epoch has all of them made."""
        public = self._policy().questions.public
        if not public.enabled:
            rule = "public_tables_disabled"
            return _refusal(question, question_pb2.ANSWER_STATE_REFUSED_POLICY, rule)
        if asked not in cube.tables():
            return _refusal(question, question_pb2.ANSWER_STATE_NOT_SUPPORTED, "no_public_table")
        sigma = exact(public.sigma)
        year = exact(self._policy().questions.rho_per_year)
        tables = {
            cube.table_digest(table): (cost(table, 1, sigma), partial(count, table, self._tally, 1))
            for table in cube.tables()
        }
        found = self._privacy.public(
            (cube.CHARGED_AS, cube.CHARGED_TO),
            Price(cube.price(sigma), year, year),
            sigma,
            tables,
            cube.table_digest(asked),
        )
        if isinstance(found, Exhausted):
            return _refusal(question, question_pb2.ANSWER_STATE_REFUSED_BUDGET, found.rule)
        return self._shown(question, found)

    def _exact(self, question: question_pb2.Question, asked: Canonical) -> question_pb2.Answer:
        """Give an exact table, for a project that this hospital signed for."""
        policy, refused = self._policy(), question_pb2.ANSWER_STATE_REFUSED_POLICY
        if asked.unit is not Unit.PATIENTS:
            unsupported = question_pb2.ANSWER_STATE_NOT_SUPPORTED
            return _refusal(question, unsupported, "exact_patients_only")
        if not policy.trust.signed_questions:  # a project is what a signature says it is
            return _refusal(question, refused, "exact_needs_signatures")
        tables = self._exact_tables
        if tables is None or not policy.signed_off(question.project, self._privacy.today):
            return _refusal(question, refused, "project_not_signed_off")
        found = tables.answer(asked, self._privacy.epoch)
        if isinstance(found, Unsafe):
            return _refusal(question, refused, found.rule)
        return _combined(
            question,
            [_cell(_as_asked(question, labels), n) for labels, n in found.cells.items()],
            epoch=found.epoch,
        )

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
            Unit.BYTES: questions.bytes,
        }[unit]

    def _price(self, rho: Fraction) -> Price:
        year = exact(self._policy().questions.rho_per_year)
        return Price(rho, year, year * exact(self._policy().questions.requester_share))

    def _shown(self, question: question_pb2.Question, found: NoisyCounts) -> question_pb2.Answer:
        """Decide "below the threshold" on the noisy value: the true one decides nothing here."""
        threshold = self._policy().questions.threshold
        cells = [
            _cell(_as_asked(question, labels), noisy if noisy >= threshold else None)
            for labels, noisy in found.cells.items()
        ]
        return _combined(question, cells, found.epoch, float(found.sigma), float(found.rho))


def _as_asked(question: question_pb2.Question, labels: Sequence[str]) -> list[str]:
    """Return a cell's labels in the order the question named its groups."""
    return [labels[sorted(question.group_by).index(name)] for name in question.group_by]


def _cell(labels: Sequence[str], shown: int | None) -> question_pb2.Cell:
    if shown is None:
        return question_pb2.Cell(values=labels, state=question_pb2.ANSWER_STATE_BELOW_THRESHOLD)
    return question_pb2.Cell(values=labels, state=question_pb2.ANSWER_STATE_VALUE, count=shown)


def _combined(
    question: question_pb2.Question,
    cells: Sequence[question_pb2.Cell],
    epoch: str,
    sigma: float = 0.0,
    rho: float = 0.0,
) -> question_pb2.Answer:
    given, below = question_pb2.ANSWER_STATE_VALUE, question_pb2.ANSWER_STATE_BELOW_THRESHOLD
    return question_pb2.Answer(
        question_id=question.question_id,
        state=given if any(cell.HasField("count") for cell in cells) else below,
        cells=cells,
        sigma=sigma,
        rho=rho,
        epoch=epoch,
        tier=question.tier,
    )


def _refusal(
    question: question_pb2.Question, state: question_pb2.AnswerState.ValueType, rule: str
) -> question_pb2.Answer:
    return question_pb2.Answer(question_id=question.question_id, state=state, rule=rule)
