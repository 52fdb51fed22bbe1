"""Answers as one document, the same from the command and from the page: no state is left out."""

from collections.abc import Iterable, Mapping
from typing import Any

from protos.v1.federation_pb2 import Estimate, Summary, Total
from protos.v1.question_pb2 import Answer, AnswerState, Operator, Predicate, Question

SIGNS = {
    Operator.OPERATOR_EQUAL: "=",
    Operator.OPERATOR_NOT_EQUAL: "!=",
    Operator.OPERATOR_LESS: "<",
    Operator.OPERATOR_LESS_OR_EQUAL: "<=",
    Operator.OPERATOR_GREATER: ">",
    Operator.OPERATOR_GREATER_OR_EQUAL: ">=",
    Operator.OPERATOR_IN: "in",
}


def document(question: Question, answers: Mapping[str, Answer], total: Total) -> dict[str, Any]:
    cells = [
        {"values": list(c.values), "count": c.count, "margin": round(c.margin, 3),
         "sites": c.sites, "hidden": c.hidden}
        for c in total.cells
    ]  # fmt: skip
    return {
        "question": {
            "where": [predicate(each) for each in question.where],
            "by": list(question.group_by),
        },
        "sites": [_site(site, answers[site]) for site in sorted(answers)],
        "total": {
            "cells": cells,
            "answered": total.answered,
            "asked": total.asked,
            "summaries": [_summary(each) for each in total.summaries],
        },
    }


def _site(site: str, answer: Answer) -> dict[str, Any]:
    return {
        "site": site,
        "state": state_of(answer.state),
        "rule": answer.rule,
        "epoch": answer.epoch,
        "sigma": answer.sigma,
        "rho": answer.rho,
        "cells": [
            {
                "values": list(cell.values),
                "state": state_of(cell.state),
                "count": cell.count if cell.HasField("count") else None,
            }
            for cell in answer.cells
        ],
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "values": list(summary.values),
        "field": summary.field,
        "count": summary.count,
        "mean": _estimate(summary.mean),
        "quantiles": [
            {"share": each.share} | _estimate(each.estimate) for each in summary.quantiles
        ],
        "hidden": summary.hidden,
    }


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {name: round(getattr(estimate, name), 4) for name in ("value", "low", "high")}


def state_of(state: int) -> str:
    return AnswerState.Name(state).removeprefix("ANSWER_STATE_")  # type: ignore[arg-type]  # the enum's number


def predicate(asked: Predicate) -> str:
    values = ", ".join(asked.values)
    listed = f"({values})" if asked.operator == Operator.OPERATOR_IN else values
    return f"{asked.field} {SIGNS[asked.operator]} {listed}"


def typed(where: Iterable[Predicate]) -> str:
    """Return a filter as one would type it: read again, it is the same question."""
    return " and ".join(_typed(each) for each in where)


def _typed(asked: Predicate) -> str:
    values = ", ".join(value if _is_number(value) else f"'{value}'" for value in asked.values)
    listed = f"({values})" if asked.operator == Operator.OPERATOR_IN else values
    return f"{asked.field} {SIGNS[asked.operator]} {listed}"


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("-").isdecimal()
