"""A filter as one writes it (`Modality = 'CT' and PatientAge >= 50`) into the treaty's predicates.

sqlglot reads the SQL; a closed subset of its tree is taken, and everything else is refused with
the place it stands at and, for a word, the nearest one that would do.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from types import MappingProxyType

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from coordinator.errors import InvalidRequest
from coordinator.federation.rules import check_predicate
from protos.anatomy import body_part, manufacturer
from protos.v1.question_pb2 import CountUnit, Operator, Predicate, Question
from protos.vocabulary import BANDS, FIELDS, MAX_PREDICATES, OTHER, Field, FieldKind, labels

FILTER_LENGTH = 4000
MAGNITUDE = 15  # digits, beyond which no number is read
FREE_TEXT = re.compile(r"[\w ./^&-]{1,40}")
HINT = "conditions are joined by AND, such as: Modality = 'CT' AND PatientAge >= 50"

COMPARED: Mapping[type[exp.Expression], Operator.ValueType] = MappingProxyType(
    {
        exp.EQ: Operator.OPERATOR_EQUAL,
        exp.NEQ: Operator.OPERATOR_NOT_EQUAL,
        exp.LT: Operator.OPERATOR_LESS,
        exp.LTE: Operator.OPERATOR_LESS_OR_EQUAL,
        exp.GT: Operator.OPERATOR_GREATER,
        exp.GTE: Operator.OPERATOR_GREATER_OR_EQUAL,
    }
)
# `50 <= PatientAge` is `PatientAge >= 50`.
MIRRORED: Mapping[Operator.ValueType, Operator.ValueType] = MappingProxyType(
    {
        Operator.OPERATOR_EQUAL: Operator.OPERATOR_EQUAL,
        Operator.OPERATOR_NOT_EQUAL: Operator.OPERATOR_NOT_EQUAL,
        Operator.OPERATOR_LESS: Operator.OPERATOR_GREATER,
        Operator.OPERATOR_LESS_OR_EQUAL: Operator.OPERATOR_GREATER_OR_EQUAL,
        Operator.OPERATOR_GREATER: Operator.OPERATOR_LESS,
        Operator.OPERATOR_GREATER_OR_EQUAL: Operator.OPERATOR_LESS_OR_EQUAL,
    }
)
LOWER = frozenset({Operator.OPERATOR_GREATER, Operator.OPERATOR_GREATER_OR_EQUAL})
UPPER = frozenset({Operator.OPERATOR_LESS, Operator.OPERATOR_LESS_OR_EQUAL})
UNITS: Mapping[str, CountUnit.ValueType] = MappingProxyType(
    {
        "patients": CountUnit.COUNT_UNIT_PATIENTS,
        "studies": CountUnit.COUNT_UNIT_STUDIES,
        "series": CountUnit.COUNT_UNIT_SERIES,
        "instances": CountUnit.COUNT_UNIT_INSTANCES,
        "bytes": CountUnit.COUNT_UNIT_BYTES,
    }
)


def parse_question(where: str, group_by: Sequence[str], unit: str, project: str = "") -> Question:
    """Read a whole question as an operator types it."""
    if unit not in UNITS:
        raise InvalidRequest(f"`{unit}` is not counted{_nearest(unit, UNITS)}")
    fields = [_known(n.strip(), "in --by").name for names in group_by for n in names.split(",")]
    return Question(project=project, unit=UNITS[unit], where=parse_where(where), group_by=fields)


def parse_where(text: str) -> list[Predicate]:
    """Read a filter; an empty one asks about everything."""
    if len(text) > FILTER_LENGTH:
        raise InvalidRequest(f"a filter has at most {FILTER_LENGTH} characters")
    if not text.strip():
        return []
    predicates: list[Predicate] = []
    for condition in _conditions(_tree(text)):
        predicates += _read(condition)
        if len(predicates) > MAX_PREDICATES:
            raise InvalidRequest(
                f"a question has at most {MAX_PREDICATES} conditions, and BETWEEN is two: "
                f"leave out what begins here{_at(condition)}"
            )
    _demand_somebody(predicates)
    return predicates


def _demand_somebody(predicates: Iterable[Predicate]) -> None:
    """Refuse a range that no number lies in: it would be paid for, and say nothing."""
    lowest: dict[str, Decimal] = {}
    highest: dict[str, Decimal] = {}
    for predicate in predicates:
        name, sign = predicate.field, predicate.operator
        if FIELDS[name].kind is FieldKind.CATEGORY or sign not in LOWER | UPPER:
            continue
        number = Decimal(predicate.values[0])
        if sign in LOWER:
            lowest[name] = max(lowest.get(name, number), number)
        else:
            highest[name] = min(highest.get(name, number), number)
    for name in lowest.keys() & highest.keys():
        if lowest[name] > highest[name]:
            raise InvalidRequest(
                f"no {name} is both above {lowest[name]} and below {highest[name]}: "
                "exchange the two numbers"
            )


def _tree(text: str) -> exp.Expression:
    try:
        trees = sqlglot.parse(text)
    except SqlglotError as fault:
        raise InvalidRequest(f"the filter cannot be read{_broken_at(fault)}: {HINT}") from fault
    except RecursionError as fault:
        raise InvalidRequest(f"the filter is nested too deeply: {HINT}") from fault
    if len(trees) != 1 or not isinstance(trees[0], exp.Expression):
        raise InvalidRequest(f"the filter is one expression: {HINT}")
    return trees[0]


def _conditions(tree: exp.Expression) -> Iterator[exp.Expression]:
    """Yield the parts of a conjunction, from left to right; no recursion, however deep it nests."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, exp.And):
            waiting += [part.expression, part.this]
        elif isinstance(part, exp.Paren):
            waiting.append(part.this)
        else:
            yield part


def _read(part: exp.Expression) -> list[Predicate]:
    if type(part) in COMPARED:
        return [_comparison(part, COMPARED[type(part)])]
    if isinstance(part, exp.In) and part.expressions and not part.args.get("query"):
        field = _field(part.this)
        values = [_value(field, each) for each in part.expressions]
        return [_checked(part, field, Operator.OPERATOR_IN, values)]
    if isinstance(part, exp.Between):
        field = _field(part.this)
        low, high = (_value(field, part.args[name]) for name in ("low", "high"))
        return [
            _checked(part, field, Operator.OPERATOR_GREATER_OR_EQUAL, [low]),
            _checked(part, field, Operator.OPERATOR_LESS_OR_EQUAL, [high]),
        ]
    if isinstance(part, exp.Or):
        raise InvalidRequest(f"OR is not asked{_at(part)}: for several values write Field IN (...)")
    if isinstance(part, exp.Not):
        raise InvalidRequest(
            f"NOT is not asked, it is not a condition{_at(part)}: write !=, or the opposite range"
        )
    raise InvalidRequest(f"this is not a condition{_at(part)}: {HINT}")


def _comparison(part: exp.Expression, operator: Operator.ValueType) -> Predicate:
    left, right = part.this, part.expression
    if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
        left, right, operator = right, left, MIRRORED[operator]
    field = _field(left)
    return _checked(part, field, operator, [_value(field, right)])


def _field(node: exp.Expression) -> Field:
    if not isinstance(node, exp.Column) or node.table:
        raise InvalidRequest(f"a field's name is expected{_at(node)}: {', '.join(FIELDS)}")
    return _known(node.name, _at(node).strip())


def _known(name: str, place: str) -> Field:
    name = BANDS.get(name, name)
    if name not in FIELDS:
        nearest = _nearest(name, (*FIELDS, *BANDS))
        raise InvalidRequest(f"`{_shown(name)}` {place} is not a field{nearest}")
    return FIELDS[name]


def _value(field: Field, node: exp.Expression) -> str:
    negative = isinstance(node, exp.Neg)
    literal = node.this if negative else node
    if not isinstance(literal, exp.Literal):
        raise InvalidRequest(
            f"{field.name} is compared with a value{_at(node)}"
            + (": text stands in single quotes" if isinstance(node, exp.Column) else "")
        )
    text = str(literal.this)
    if literal.is_string and text in labels(field.name):
        return text
    if field.kind is FieldKind.NUMBER:
        return _number(field, ("-" if negative else "") + text, _at(node))
    read = _read_freely(field, text)
    if read == OTHER:
        nearest = _nearest(text, labels(field.name))
        raise InvalidRequest(f"`{_shown(text)}`{_at(node)} is not a {field.name}{nearest}")
    return read


def _read_freely(field: Field, text: str) -> str:
    """Return the public word that free text stands for, as the index reads it: 胸部 is CHEST."""
    if not FREE_TEXT.fullmatch(text):
        return OTHER
    if field.name == "BodyPartExamined":
        return body_part(text, ()) or OTHER
    if field.name == "Manufacturer":
        return manufacturer(text) or OTHER
    return OTHER


def _number(field: Field, text: str, place: str) -> str:
    """Return a number in its shortest decimal form: 1.0 and 1 are the same question."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > MAGNITUDE:
        bands = ", ".join(field.bins[:3])
        raise InvalidRequest(
            f"{field.name} is compared with a number{place}, or = and a band's name: {bands}..."
        )
    low, high = field.span
    if not low <= number <= high:
        raise InvalidRequest(
            f"{field.name} lies between {low:g} and {high:g}: {number:f}{place} is beyond"
        )
    return f"{number.normalize():f}" if number else "0"


def _checked(
    part: exp.Expression, field: Field, operator: Operator.ValueType, values: list[str]
) -> Predicate:
    predicate = Predicate(field=field.name, operator=operator, values=values)
    try:
        check_predicate(predicate)
    except InvalidRequest as fault:
        raise InvalidRequest(f"{fault}{_at(part)}") from fault
    return predicate


def _at(node: exp.Expression) -> str:
    """Say at which character a part of the filter begins."""
    starts = [int(each.meta["start"]) for each in node.walk() if each.meta.get("start") is not None]
    return f" (character {min(starts) + 1})" if starts else ""


def _broken_at(fault: SqlglotError) -> str:
    for error in getattr(fault, "errors", ()):
        if error.get("col"):
            return f" at character {error['col']}"
    return ""


def _nearest(word: str, words: Mapping[str, object] | Sequence[str]) -> str:
    folded = {each.casefold(): each for each in words}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    if near:
        return f": did you mean `{folded[near[0]]}`?"
    return f": one of {', '.join(words)}"


def _shown(word: str) -> str:
    """Return a word of the user's own filter, short and printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in word[:40])
