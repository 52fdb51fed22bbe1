"""What may be asked, when enough have answered, and how answers combine."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from coordinator.errors import InvalidRequest
from protos.cube import TABLES, is_public
from protos.v1.federation_pb2 import Total, TotalCell
from protos.v1.question_pb2 import (
    Answer,
    AnswerState,
    CountUnit,
    Operator,
    Predicate,
    Question,
    Tier,
)
from protos.vocabulary import FIELDS, MAX_GROUP_BY, MAX_PREDICATES, Field, FieldKind, labels

TWO_SIDED_95 = 1.959963984540054  # the normal quantile at 0.975
VALUES_AT_MOST = 64  # of one IN
PROJECT_LENGTH = 64
COUNT_AT_MOST = 1 << 48  # and of noise: what is squared and summed stays a number
WORD_LENGTH = 64
QUORUM_REACHED = "quorum_reached"
VALUE = AnswerState.ANSWER_STATE_VALUE  # looked up once: an enum's word is slow to look up
WITH_CELLS = frozenset({AnswerState.ANSWER_STATE_VALUE, AnswerState.ANSWER_STATE_BELOW_THRESHOLD})
SITES_SAY = frozenset(AnswerState.values()) - {
    AnswerState.ANSWER_STATE_UNSPECIFIED,
    AnswerState.ANSWER_STATE_OFFLINE,
}

_EQUALITY = frozenset({Operator.OPERATOR_EQUAL, Operator.OPERATOR_NOT_EQUAL, Operator.OPERATOR_IN})
_ORDER = frozenset(
    {
        Operator.OPERATOR_EQUAL,
        Operator.OPERATOR_LESS,
        Operator.OPERATOR_LESS_OR_EQUAL,
        Operator.OPERATOR_GREATER,
        Operator.OPERATOR_GREATER_OR_EQUAL,
        Operator.OPERATOR_IN,
    }
)
COMPARISONS: Mapping[FieldKind, frozenset[Operator.ValueType]] = MappingProxyType(
    {FieldKind.CATEGORY: _EQUALITY, FieldKind.NUMBER: _ORDER}
)


def check_question(question: Question) -> None:
    """Refuse what the closed vocabulary does not hold; every door and the parser ask here."""
    if question.unit not in CountUnit.values() or not question.unit:
        raise InvalidRequest("a question counts patients, studies, series, instances or bytes")
    if len(question.where) > MAX_PREDICATES:
        raise InvalidRequest(f"a question has at most {MAX_PREDICATES} conditions")
    if len(question.group_by) > MAX_GROUP_BY:
        raise InvalidRequest(f"a question is broken down by at most {MAX_GROUP_BY} fields")
    if len(set(question.group_by)) != len(question.group_by):
        raise InvalidRequest("a question is broken down by each field once")
    if len(question.project) > PROJECT_LENGTH or not question.project.isprintable():
        raise InvalidRequest(f"a project's name has at most {PROJECT_LENGTH} printable characters")
    for name in question.group_by:
        known_field(name)
    _check_tier(question)
    for predicate in question.where:
        check_predicate(predicate)


def _check_tier(question: Question) -> None:
    """Refuse what no hospital would answer at the tier it is asked at, before it is paid for."""
    if question.tier not in Tier.values():
        raise InvalidRequest("a question is noisy, public or exact")
    patients = question.unit == CountUnit.COUNT_UNIT_PATIENTS
    if question.tier == Tier.TIER_EXACT and not patients:
        raise InvalidRequest("an exact table counts patients: ask for other units with noise")
    if question.tier == Tier.TIER_PUBLIC and (
        not patients or question.where or not is_public(question.group_by)
    ):
        tables = "; ".join(" by ".join(table) or "all" for table in TABLES)
        raise InvalidRequest(f"the public tables count patients, without a filter: {tables}")


def check_summary(question: Question, name: str) -> None:
    """Refuse a mean of what has none."""
    if name not in question.group_by or known_field(name).kind is not FieldKind.NUMBER:
        raise InvalidRequest("a mean is taken of a number that the question is broken down by")


def known_field(name: str) -> Field:
    if name not in FIELDS:
        raise InvalidRequest(f"there is no field of this name; the fields are {', '.join(FIELDS)}")
    return FIELDS[name]


def check_predicate(predicate: Predicate) -> None:
    """Refuse a comparison its field's kind does not have, or a value outside the vocabulary."""
    asked = known_field(predicate.field)
    if predicate.operator not in COMPARISONS[asked.kind]:
        raise InvalidRequest(
            f"{asked.name} is compared with = != IN"
            if asked.kind is FieldKind.CATEGORY
            else f"{asked.name} is compared with = < <= > >= IN"
        )
    single = predicate.operator != Operator.OPERATOR_IN
    if not predicate.values or (single and len(predicate.values) > 1):
        raise InvalidRequest(f"{asked.name} is compared with one value, or with IN and a list")
    if len(predicate.values) > VALUES_AT_MOST:
        raise InvalidRequest(f"an IN has at most {VALUES_AT_MOST} values")
    equal = predicate.operator not in _ORDER - _EQUALITY
    for value in predicate.values:
        if not (equal and value in labels(asked.name)):
            _check_value(asked, value)


def _check_value(asked: Field, value: str) -> None:
    if asked.kind is FieldKind.CATEGORY:
        raise InvalidRequest(f"{asked.name} is one of {', '.join(labels(asked.name))}")
    try:
        finite = math.isfinite(float(value))
    except ValueError:
        finite = False
    if not finite:
        raise InvalidRequest(f"{asked.name} is compared with a number")


@dataclass(frozen=True, slots=True)
class Asking:
    """One question under way: who is still awaited, and how many figures are enough (0: all)."""

    asked: frozenset[str]
    answers: Mapping[str, Answer] = field(default_factory=dict)
    quorum: int = 0

    def answered(self, site: str, answer: Answer) -> "Asking":
        """Take a site's first answer; a second, or a stranger's, changes nothing."""
        if site not in self.asked or site in self.answers:
            return self
        return replace(self, answers={**self.answers, site: answer})

    @property
    def awaited(self) -> frozenset[str]:
        return self.asked - self.answers.keys()

    @property
    def is_enough(self) -> bool:
        given = sum(answer.state in WITH_CELLS for answer in self.answers.values())
        return 0 < self.quorum <= given

    def patience(self, connected: frozenset[str], deadline: float, absent_grace: float) -> float:
        """Return until when to wait, as seconds after asking; 0 when enough have answered."""
        if not self.awaited or self.is_enough:
            return 0.0
        # One who is here and computes is worth the whole deadline; one who is away, a moment.
        return deadline if self.awaited & connected else min(absent_grace, deadline)


def combined(answers: Iterable[Answer]) -> list[TotalCell]:
    """Add the hospitals' noisy counts; the margin is what their independent noises leave.

    Half the width of the 95 % interval: 1.96 times the root of the summed variances. A hospital
    that hid a cell is in no sum of it, and is counted beside it: hidden is not none.
    """
    sums: dict[tuple[str, ...], _Sum] = {}
    for answer in answers:
        if answer.state not in WITH_CELLS:
            continue
        variance = answer.sigma**2
        for cell in answer.cells:
            key = tuple(cell.values)
            known = sums.get(key)
            if known is None:
                known = sums[key] = _Sum()
            if cell.state == VALUE and cell.HasField("count"):
                known.count += cell.count
                known.sites += 1
                known.variance += variance
            else:
                known.hidden += 1
    return [
        TotalCell(
            values=key,
            count=one.count,
            sites=one.sites,
            hidden=one.hidden,
            margin=TWO_SIDED_95 * math.sqrt(one.variance),
        )
        for key, one in sums.items()
    ]


@dataclass(slots=True)
class _Sum:
    """One cell on the way: added here, for a message's fields are slow to add to."""

    count: int = 0
    sites: int = 0
    hidden: int = 0
    variance: float = 0.0


def total(
    question_id: str,
    answers: Collection[Answer],
    asked: int,
    sums: Collection[TotalCell] | None = None,
) -> Total:
    """Return the cells in which at least one hospital gave a figure."""
    added = combined(answers) if sums is None else sums
    return Total(
        question_id=question_id,
        cells=[cell for cell in added if cell.sites],
        answered=sum(answer.state == AnswerState.ANSWER_STATE_VALUE for answer in answers),
        asked=asked,
    )


def as_asked(question: Question, answer: Answer) -> Answer:
    """Take for NOT_SUPPORTED what is no answer to this: noise for exact, or other cells.

    The former is what an older gateway says, which knows no tiers.
    """
    if answer.state not in WITH_CELLS:
        return answer
    tiered = question.tier in (Tier.TIER_PUBLIC, Tier.TIER_EXACT)
    if tiered and answer.tier != question.tier:
        return _not_supported(answer, "unknown_tier")
    groups = len(question.group_by)
    if any(len(cell.values) != groups for cell in answer.cells):
        return _not_supported(answer, "unknown_field")
    return answer


def _not_supported(answer: Answer, rule: str) -> Answer:
    state = AnswerState.ANSWER_STATE_NOT_SUPPORTED
    return Answer(question_id=answer.question_id, state=state, rule=rule)


def is_sound(answer: Answer) -> bool:
    """Say whether an answer can be what an honest gateway sends."""
    values = {tuple(cell.values) for cell in answer.cells}
    words = (answer.rule, answer.epoch, *(word for cell in values for word in cell))
    return (
        answer.state in SITES_SAY
        and 0 <= answer.sigma < COUNT_AT_MOST
        and 0 <= answer.rho < COUNT_AT_MOST
        and len(values) == len(answer.cells)
        and all(abs(cell.count) < COUNT_AT_MOST for cell in answer.cells)
        and all(len(word) <= WORD_LENGTH and word.isprintable() for word in words)
    )


def absent(question_id: str, *, enough: bool = False) -> Answer:
    """Say that a hospital is in no sum: not heard in time, or others were enough."""
    rule = QUORUM_REACHED if enough else ""
    return Answer(question_id=question_id, state=AnswerState.ANSWER_STATE_OFFLINE, rule=rule)
