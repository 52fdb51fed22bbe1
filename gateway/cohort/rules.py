"""The canonical question: what is asked, reduced to sets of public atoms, and what it costs."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import reduce
from hashlib import sha256
from itertools import pairwise, product
from math import inf, isfinite, nextafter

from protos.price import bins_moved, rho
from protos.v1 import question_pb2
from protos.v1.question_pb2 import Operator
from protos.vocabulary import (
    FIELDS,
    MAX_GROUP_BY,
    MAX_PREDICATES,
    OTHER,
    UNKNOWN,
    Field,
    FieldKind,
    labels,
)

MAX_VALUES = 64
FORM = "radfed question v1"


class Unit(StrEnum):
    PATIENTS = "patients"
    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"
    BYTES = "bytes"  # in MiB


UNITS = {
    question_pb2.COUNT_UNIT_PATIENTS: Unit.PATIENTS,
    question_pb2.COUNT_UNIT_STUDIES: Unit.STUDIES,
    question_pb2.COUNT_UNIT_SERIES: Unit.SERIES,
    question_pb2.COUNT_UNIT_INSTANCES: Unit.INSTANCES,
    question_pb2.COUNT_UNIT_BYTES: Unit.BYTES,
}


@dataclass(frozen=True, slots=True)
class NotSupported:
    """The question cannot be read; `rule` is the closed word that says why."""

    rule: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One field and the atoms it may take.

    For a category an atom is a bin of the vocabulary, or OTHER. For a number the public edges cut
    the line into atoms: atom 2i is everything between edge i-1 and edge i, atom 2i+1 is edge i
    itself. So a comparison with an edge is answered as asked, and one with any other number is
    widened to the bin it lies in.
    """

    field: str
    atoms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Canonical:
    """One question in its one form: whoever spells it how, it has the same digest."""

    unit: Unit
    where: tuple[Condition, ...]
    group_by: tuple[str, ...]

    @property
    def digest(self) -> bytes:
        body = {
            "unit": self.unit,
            "where": {c.field: sorted(c.atoms) for c in self.where},
            "group_by": self.group_by,
        }
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return sha256(f"{FORM}\n{text}".encode()).digest()

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(c.field for c in self.where) | frozenset(self.group_by)

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """Every cell of the public vocabulary, in order, whether anybody is in it or not."""
        return tuple(product(*(labels(name) for name in self.group_by)))

    @property
    def bins_per_patient(self) -> int:
        """Bound how many cells one patient is counted in."""
        return bins_moved(self.group_by)


def canonical(question: question_pb2.Question) -> Canonical | NotSupported:
    """Reduce a question to its canonical form, or say which rule it breaks."""
    unit = UNITS.get(question.unit)
    if unit is None:
        return NotSupported("unknown_unit")
    broken = {
        "too_many_predicates": len(question.where) > MAX_PREDICATES,
        "too_many_groups": len(question.group_by) > MAX_GROUP_BY,
        "repeated_group": len(set(question.group_by)) < len(question.group_by),
        "unknown_field": not FIELDS.keys() >= set(question.group_by),
    }
    for rule, applies in broken.items():
        if applies:
            return NotSupported(rule)
    where = conditions(question.where)
    if isinstance(where, NotSupported):
        return where
    return Canonical(unit, where, tuple(sorted(question.group_by)))


def conditions(
    predicates: Sequence[question_pb2.Predicate],
) -> tuple[Condition, ...] | NotSupported:
    """Intersect the predicates field by field; a tautology disappears."""
    allowed: dict[str, frozenset[str]] = {}
    for predicate in predicates:
        found = _atoms_of(predicate)
        if isinstance(found, NotSupported):
            return found
        allowed[predicate.field] = allowed.get(predicate.field, found) & found
    return tuple(
        Condition(name, atoms)
        for name, atoms in sorted(allowed.items())
        if atoms != all_atoms(FIELDS[name])
    )


def label_of(name: str, atom: str) -> str:
    """Return the label of a group-by that an atom belongs to: an edge begins its bin."""
    field = FIELDS[name]
    if atom == UNKNOWN or field.kind is FieldKind.CATEGORY:
        return atom
    return field.bins[(int(atom) + 1) // 2]


def atom_of(field: Field, value: float | str | None) -> str:
    """Return the atom a stored value is."""
    if field.kind is FieldKind.CATEGORY or value is None or value == "":
        return bin_of(field, value)
    first, last = _span(field.edges, float(value))
    return str(last if first != last else first)


def all_atoms(field: Field) -> frozenset[str]:
    return frozenset({*_known_atoms(field), UNKNOWN})


def _known_atoms(field: Field) -> frozenset[str]:
    if field.kind is FieldKind.CATEGORY:
        return frozenset({*field.bins, OTHER})
    gaps = {
        2 * place + 2  # between 2024 and 2025 there is no year: `= 2024` is `>= 2024 and < 2025`
        for place, (low, high) in enumerate(pairwise(field.edges))
        if field.whole and high - low <= 1
    }
    return frozenset(str(atom) for atom in range(2 * len(field.edges) + 1) if atom not in gaps)


def _atoms_of(predicate: question_pb2.Predicate) -> frozenset[str] | NotSupported:
    field = FIELDS.get(predicate.field)
    if field is None:
        return NotSupported("unknown_field")
    several = predicate.operator == Operator.OPERATOR_IN
    if not 1 <= len(predicate.values) <= (MAX_VALUES if several else 1):
        return NotSupported("value_count")
    if field.kind is FieldKind.CATEGORY:
        return _category_atoms(field, predicate)
    return _number_atoms(field, predicate)


def _category_atoms(
    field: Field, predicate: question_pb2.Predicate
) -> frozenset[str] | NotSupported:
    named = frozenset(predicate.values)
    if not all_atoms(field) >= named:
        return NotSupported("unknown_value")
    if predicate.operator in (Operator.OPERATOR_EQUAL, Operator.OPERATOR_IN):
        return named
    if predicate.operator == Operator.OPERATOR_NOT_EQUAL:
        return _known_atoms(field) - named  # what is unknown satisfies no comparison
    return NotSupported("unknown_operator")


def _number_atoms(field: Field, predicate: question_pb2.Predicate) -> frozenset[str] | NotSupported:
    equal = predicate.operator in (Operator.OPERATOR_EQUAL, Operator.OPERATOR_IN)
    absent = frozenset({UNKNOWN}) if equal and UNKNOWN in predicate.values else frozenset[str]()
    values = [value for value in predicate.values if not (absent and value == UNKNOWN)]
    if not values:
        return absent
    found = [_span_of(field, value) for value in values]
    spans = [span for span in found if span is not None]
    if len(spans) < len(found):
        return NotSupported("unknown_value")
    ((low, high), *_) = spans
    is_edge, last = low % 2 == 1 and low == high, 2 * len(field.edges)
    chosen = {
        Operator.OPERATOR_EQUAL: range(low, high + 1),
        Operator.OPERATOR_LESS: range(low if is_edge else high + 1),
        Operator.OPERATOR_LESS_OR_EQUAL: range(high + 1),
        Operator.OPERATOR_GREATER: range(high + 1 if is_edge else low, last + 1),
        Operator.OPERATOR_GREATER_OR_EQUAL: range(low, last + 1),
    }
    if predicate.operator in chosen:
        return frozenset(map(str, chosen[predicate.operator])) & _known_atoms(field)
    named = reduce(frozenset.union, (_covered(span) for span in spans), frozenset[str]())
    if predicate.operator == Operator.OPERATOR_IN:
        return named & _known_atoms(field) | absent
    if predicate.operator == Operator.OPERATOR_NOT_EQUAL:
        return _known_atoms(field) - named
    return NotSupported("unknown_operator")


def _covered(span: tuple[int, int]) -> frozenset[str]:
    return frozenset(map(str, range(span[0], span[1] + 1)))


def _span_of(field: Field, text: str) -> tuple[int, int] | None:
    """Return the atoms a number stands for, or a band's name (`50-60`)."""
    try:
        value = float(text)
    except ValueError:
        place = field.bins.index(text) if text in field.bins else None
        return None if place is None else (max(2 * place - 1, 0), 2 * place)
    return _span(field.edges, value) if isfinite(value) else None


def _span(edges: Sequence[float], value: float) -> tuple[int, int]:
    """Return the first and last atom a number stands for: an edge is itself, else its bin."""
    place = bisect_left(edges, value)
    if place < len(edges) and edges[place] == value:
        return 2 * place + 1, 2 * place + 1
    # The bin [edges[place-1], edges[place]) owns its lower edge.
    return (2 * place - 1 if place else 0), 2 * place


def ranges(field: Field, atoms: frozenset[str]) -> list[tuple[float, float]]:
    """Turn a number's atoms into half-open ranges [low, high), neighbours joined."""
    joined: list[tuple[float, float]] = []
    for atom in sorted(int(a) for a in atoms if a != UNKNOWN):
        low, high = _bounds(field.edges, atom)
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _bounds(edges: Sequence[float], atom: int) -> tuple[float, float]:
    place, is_edge = divmod(atom, 2)
    if is_edge:
        return edges[place], nextafter(edges[place], inf)
    low = nextafter(edges[place - 1], inf) if place else -inf
    return low, edges[place] if place < len(edges) else inf


def bin_of(field: Field, value: float | str | None) -> str:
    """Return the label a stored value is counted under in a group-by."""
    if value is None or value == "":
        return UNKNOWN
    if field.kind is FieldKind.CATEGORY:
        return str(value) if value in field.bins else OTHER
    return field.bins[bisect_right(field.edges, float(value))]


def satisfies(condition: Condition, value: float | str | None) -> bool:
    """Tell whether a stored value meets a condition."""
    field = FIELDS[condition.field]
    if value is None or value == "":
        return UNKNOWN in condition.atoms
    if field.kind is FieldKind.CATEGORY:
        return bin_of(field, value) in condition.atoms
    number = float(value)
    return any(low <= number < high for low, high in ranges(field, condition.atoms))


def cost(question: Canonical, contribution: int, sigma: Fraction) -> Fraction:
    """Return rho = m c^2 / (2 sigma^2): one patient moves m cells by at most c each."""
    return rho(question.group_by, contribution, sigma)
