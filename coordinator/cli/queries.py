"""`radfed query`: ask the federation, and see who asked what."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli.report import (
    As,
    AsJson,
    credential_dir,
    door,
    listing,
    moment,
    plain,
    print_json,
)
from coordinator.errors import ExitCode, InvalidRequest

if TYPE_CHECKING:
    from protos.v1.federation_pb2 import Total
    from protos.v1.question_pb2 import Answer, Question

Where = Annotated[
    str, typer.Option("--where", help="Such as: \"Modality = 'CT' and PatientAge >= 50\".")
]
By = Annotated[
    list[str] | None,
    typer.Option("--by", help="Break the count down by this field; at most twice."),
]
Unit = Annotated[str, typer.Option(help="patients, studies, series or instances.")]
Project = Annotated[str, typer.Option(help="On whose behalf.")]
SHOWN_CELLS = 40
SIGNED_BEYOND = timedelta(hours=1)


def add_to(app: typer.Typer) -> None:
    app.command("run")(door(run))
    app.command("explain")(door(explain))
    app.command("ls")(door(ls))


def run(
    where: Where = "",
    by: By = None,
    unit: Unit = "patients",
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Ask this hospital only; repeatable.")
    ] = None,
    deadline: Annotated[int, typer.Option(help="Seconds to wait for the last hospital.")] = 30,
    project: Project = "",
    key: Annotated[
        Path | None,
        typer.Option(envvar="RADFED_REQUESTER_KEY", help="The requester's private key."),
    ] = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Ask every hospital, in the name of a project, signed with the requester's key.

    Exit 8 where some did not answer, 7 where all refused for privacy, 6 where none believed the
    signature.

    Example: radfed query run --where "Modality = 'CT'" --project lungs --key requester.key
    """
    from coordinator.api.client import Credential, Federation

    question = _question(where, by, unit, project)
    if not 1 <= deadline <= 86400:  # noqa: PLR2004 - a day
        raise InvalidRequest("a deadline is 1-86400 seconds")
    credential = Credential.load(credential_dir(as_))
    if key is not None:
        _sign(question, credential.federation, key, deadline)
    answers: dict[str, Answer] = {}
    total: Total | None = None
    with Federation(credential) as federation:
        for said in federation.ask(question, site or [], deadline):
            if said.HasField("total"):
                total = said.total
                continue
            answers[said.site_answer.site] = said.site_answer.answer
            if not as_json:
                typer.echo(_progress(said.site_answer.site, said.site_answer.answer), err=True)
    if as_json:
        print_json(_document(question, answers, total))
    else:
        _draw(question, answers, total)
    raise typer.Exit(int(exit_code(answers.values())))


def explain(
    where: Where = "",
    by: By = None,
    unit: Unit = "patients",
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Say what would be asked, and ask nothing.

    Example: radfed query explain --where "PatientAge >= 50" --by PatientSex
    """
    from protos.vocabulary import FIELDS

    question = _question(where, by, unit, project)
    cells = 1
    for name in question.group_by:
        cells *= len(FIELDS[name].bins)
    facts = {
        "counts": unit,
        "where": [_predicate(each) for each in question.where],
        "by": list(question.group_by),
        "cells": cells,
        "note": "each hospital adds noise of its own and charges its own budget",
    }
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        typer.echo(f"{key:<7} {plain(value)}")


def ls(
    limit: Annotated[int, typer.Option(help="At most so many.")] = 100,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """List who asked what, the newest first.

    Example: radfed query ls --limit 10
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        asked = federation.questions(limit)
    rows = [
        {
            "asked_at": moment(each.asked_at),
            "requester": each.question.requester,
            "where": " and ".join(map(_predicate, each.question.where)),
            "by": list(each.question.group_by),
            "answered": each.answered,
            "asked": each.asked,
            "question_id": each.question.question_id,
        }
        for each in asked
    ]
    columns = ("asked_at", "requester", "where", "by", "answered", "asked")
    listing(rows, columns, as_json=as_json, empty="nothing was asked yet")


def exit_code(answers: "Collection[Answer]") -> ExitCode:
    """Return 0 where every hospital gave a figure, 6 or 7 where all refused, 8 between."""
    from protos.signatures import Distrust
    from protos.v1.question_pb2 import AnswerState

    if answers and {answer.rule for answer in answers} <= set(Distrust):
        return ExitCode.REFUSED_IDENTITY
    states = {answer.state for answer in answers}
    given = {AnswerState.ANSWER_STATE_VALUE, AnswerState.ANSWER_STATE_BELOW_THRESHOLD}
    refused = {AnswerState.ANSWER_STATE_REFUSED_BUDGET, AnswerState.ANSWER_STATE_REFUSED_POLICY}
    if not states:
        return ExitCode.PARTIAL
    if states <= given:
        return ExitCode.OK
    return ExitCode.REFUSED_PRIVACY if states <= refused else ExitCode.PARTIAL


def _sign(question: "Question", federation: str, key: Path, deadline: int) -> None:
    """Sign a question for as long as its answers are waited for, and an hour for slow clocks."""
    from secrets import token_bytes

    from coordinator.cli.keys import signer
    from protos.signatures import NONCE_BYTES, sign_question

    until = datetime.now(UTC) + timedelta(seconds=deadline) + SIGNED_BEYOND
    private = signer(key, "requester")
    sign_question(question, federation, private, token_bytes(NONCE_BYTES), until)


def _question(where: str, by: list[str] | None, unit: str, project: str) -> "Question":
    from coordinator.api.parse import parse_question

    return parse_question(where, by or [], unit, project)


def _document(
    question: "Question", answers: "dict[str, Answer]", total: "Total | None"
) -> dict[str, Any]:
    cells = [] if total is None else [
        {"values": list(c.values), "count": c.count, "margin": round(c.margin, 3), "sites": c.sites}
        for c in total.cells
    ]  # fmt: skip
    return {
        "question": {
            "where": [_predicate(each) for each in question.where],
            "by": list(question.group_by),
        },
        "sites": [_site(site, answers[site]) for site in sorted(answers)],
        "total": {
            "cells": cells,
            "answered": total.answered if total else 0,
            "asked": total.asked if total else 0,
        },
    }


def _site(site: str, answer: "Answer") -> dict[str, Any]:
    return {
        "site": site,
        "state": _state(answer.state),
        "rule": answer.rule,
        "epoch": answer.epoch,
        "sigma": answer.sigma,
        "rho": answer.rho,
        "cells": [
            {
                "values": list(cell.values),
                "state": _state(cell.state),
                "count": cell.count if cell.HasField("count") else None,
            }
            for cell in answer.cells
        ],
    }


def _draw(question: "Question", answers: "dict[str, Answer]", total: "Total | None") -> None:
    """Draw one row for each cell with a figure, one column for each hospital."""
    from coordinator.cli.report import table

    if total is None:
        return
    sites = sorted(answers)
    figures = {
        (site, tuple(cell.values)): cell.count
        for site in sites
        for cell in answers[site].cells
        if cell.HasField("count")
    }
    rows = [
        dict(zip(question.group_by, cell.values, strict=False))
        | {site: figures.get((site, tuple(cell.values)), "-") for site in sites}
        | {"total": f"{cell.count} ± {cell.margin:.0f}", "hospitals": cell.sites}
        for cell in total.cells
    ]
    columns = (*question.group_by, *sites, "total", "hospitals")
    table(rows[:SHOWN_CELLS], columns, empty="no hospital gave a figure")
    if len(rows) > SHOWN_CELLS:
        typer.echo(f"... and {len(rows) - SHOWN_CELLS} more rows: --json shows all")
    for site in sites:
        if not answers[site].cells:
            typer.echo(_progress(site, answers[site]))


def _progress(site: str, answer: "Answer") -> str:
    rule = f" ({answer.rule})" if answer.rule else ""
    return f"{site}: {_state(answer.state)}{rule}"


def _state(state: int) -> str:
    from protos.v1.question_pb2 import AnswerState

    return AnswerState.Name(state).removeprefix("ANSWER_STATE_")  # type: ignore[arg-type]  # the enum's number


def _predicate(predicate: Any) -> str:  # noqa: ANN401 - a lazily imported message
    from protos.v1.question_pb2 import Operator

    sign = {
        Operator.OPERATOR_EQUAL: "=",
        Operator.OPERATOR_NOT_EQUAL: "!=",
        Operator.OPERATOR_LESS: "<",
        Operator.OPERATOR_LESS_OR_EQUAL: "<=",
        Operator.OPERATOR_GREATER: ">",
        Operator.OPERATOR_GREATER_OR_EQUAL: ">=",
        Operator.OPERATOR_IN: "in",
    }[predicate.operator]
    values = ", ".join(predicate.values)
    listed = f"({values})" if predicate.operator == Operator.OPERATOR_IN else values
    return f"{predicate.field} {sign} {listed}"
