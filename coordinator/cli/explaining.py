"""What a question is and what it costs, in words."""

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from coordinator.cli.cures import cure
from protos.cube import TABLES
from protos.price import (
    DEFAULT_REQUESTER_SHARE,
    DEFAULT_RHO_PER_YEAR,
    DEFAULT_TERMS,
    bins_moved,
    cells,
    rho,
)
from protos.vocabulary import EXACT_CELL_AT_LEAST, FIELDS, FieldKind

if TYPE_CHECKING:
    from protos.v1.federation_pb2 import Expectation
    from protos.v1.question_pb2 import Predicate, Question


def unit_of(question: "Question") -> str:
    from protos.v1.question_pb2 import CountUnit

    return CountUnit.Name(question.unit).removeprefix("COUNT_UNIT_").lower()


def tier_of(question: "Question") -> str:
    from protos.v1.question_pb2 import Tier

    return Tier.Name(question.tier or Tier.TIER_NOISY).removeprefix("TIER_").lower()


def cost_document(question: "Question", unit: str) -> dict[str, Any]:
    """Say how an answer is protected, what it costs by the default policy, and how often."""
    tier, by = tier_of(question), list(question.group_by)
    facts: dict[str, Any] = {"cells": cells(by), "tier": tier}
    if tier == "exact":
        note = (
            "outside differential privacy: exact, cells of fewer than "
            f"{EXACT_CELL_AT_LEAST} patients and those that would betray them hidden; each "
            "hospital must have signed for the project; nothing is charged"
        )
        return facts | {"rho": 0.0, "cost": note}
    if tier == "public":
        note = f"free to read: each hospital charges its {len(TABLES)} public tables once a quarter"
        return facts | {"rho": 0.0, "cost": note}
    terms, moved = DEFAULT_TERMS[unit], bins_moved(by)
    price = rho(by, terms.contribution, Fraction(repr(terms.sigma)))
    year = DEFAULT_RHO_PER_YEAR
    often = int(Fraction(repr(year)) * Fraction(repr(DEFAULT_REQUESTER_SHARE)) / price)
    note = (
        f"rho = m c^2 / (2 sigma^2) = {moved} x {terms.contribution}^2 / (2 x {terms.sigma:g}^2) = "
        f"{float(price):.4g} by the default policy, of {year:g} a year at each hospital and "
        f"{year * DEFAULT_REQUESTER_SHARE:g} for you: {often} such questions; a repeat in the "
        "quarter is free"
    )
    return facts | {"rho": float(price), "cost": note}


def widened(where: "Iterable[Predicate]") -> list[str]:
    """Say where a number is no public edge, and the comparison takes in the whole bin around it."""
    remarks = []
    for predicate in where:
        field = FIELDS[predicate.field]
        if field.kind is FieldKind.CATEGORY:
            continue
        for value in predicate.values:
            if value in field.bins or value == "UNKNOWN" or float(value) in field.edges:
                continue
            place = sum(edge <= float(value) for edge in field.edges)
            remarks.append(f"{field.name} {value} is no edge: all of {field.bins[place]} counts")
    return remarks


def expectation_row(expected: "Expectation") -> dict[str, Any]:
    """Return one hospital's line: numbers, where they come from, and what stands in the way."""
    remarks = ["repeat: free"] if expected.is_repeat else []
    if expected.refused_before:
        rule = expected.refused_before
        remarks.append(f"refused before ({rule}): {cure('', rule)}")
    elif expected.rho > expected.left_for_you:
        remarks.append("more than is left to you, by the default budget")
    if not expected.connected:
        remarks.append("not connected now")
    return {
        "site": expected.site,
        "here": expected.connected,
        "sigma": expected.sigma,
        "rho": expected.rho,
        "from": "its answers" if expected.is_known else "the default policy",
        "you spent": expected.spent_by_you,
        "all spent": expected.spent_by_all,
        "left to you": expected.left_for_you,
        "remark": "; ".join(remarks),
    }
