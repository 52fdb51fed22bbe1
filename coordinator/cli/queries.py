"""`radfed query`: ask the federation, and see who asked what."""

from collections.abc import Collection, Sequence
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
    report,
    table,
)
from coordinator.errors import ExitCode, InvalidRequest

if TYPE_CHECKING:
    from coordinator.api.asking import Wish
    from protos.v1.federation_pb2 import Expectation
    from protos.v1.question_pb2 import Answer, Question

Where = Annotated[
    str, typer.Option("--where", help="Such as: \"Modality = 'CT' and PatientAge >= 50\".")
]
By = Annotated[
    list[str] | None,
    typer.Option("--by", help="Break the count down by this field; at most twice."),
]
Unit = Annotated[str, typer.Option(help="patients, studies, series, instances or bytes (MiB).")]
Mean = Annotated[
    str, typer.Option("--mean", help="Mean and quartiles of this number, such as PatientAge.")
]
Public = Annotated[bool, typer.Option("--public", help="Read the public tables: free, no filter.")]
Exact = Annotated[
    bool, typer.Option("--exact", help="Exact, small cells hidden; for a signed-off project.")
]
Sites = Annotated[
    list[str] | None, typer.Option("--site", help="Ask this hospital only; repeatable.")
]
Project = Annotated[str, typer.Option(help="On whose behalf.")]


def add_to(app: typer.Typer) -> None:
    app.command("run")(door(run))
    app.command("explain")(door(explain))
    app.command("ls")(door(ls))
    app.command("sign")(door(sign))


def run(
    where: Where = "",
    by: By = None,
    unit: Unit = "patients",
    mean: Mean = "",
    public: Public = False,
    exact: Exact = False,
    site: Sites = None,
    deadline: Annotated[int, typer.Option(help="Seconds to wait for the last hospital.")] = 30,
    quorum: Annotated[
        int, typer.Option(min=0, help="Wait no more once so many gave figures; 0: for all.")
    ] = 0,
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
    from coordinator.cli.answers import document, draw, watching
    from coordinator.cli.keys import signer

    wish = _wish(where, by, unit, project, mean, (public, exact))
    _ = wish.question  # what cannot be asked is said before anybody is called
    if not 1 <= deadline <= 86400:  # noqa: PLR2004 - a day
        raise InvalidRequest("a deadline is 1-86400 seconds")
    with (
        Federation(Credential.load(credential_dir(as_))) as federation,
        watching(as_json=as_json) as watch,
    ):
        private = None if key is None else signer(key, "requester")
        found = federation.count(
            wish, site or [], deadline, quorum=quorum, key=private, heard=watch
        )
    if as_json:
        print_json(document(found.question, found.answers, found.total))
    else:
        draw(found.question, found.answers, found.total)
    raise typer.Exit(int(exit_code(found.answers.values())))


def explain(
    where: Where = "",
    by: By = None,
    unit: Unit = "patients",
    mean: Mean = "",
    public: Public = False,
    exact: Exact = False,
    site: Sites = None,
    project: Project = "",
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Say what would be asked and what it would cost, and ask no hospital.

    With a credential, the coordinator adds what each hospital's earlier answers tell: its noise,
    its price, what you have spent there, and what it refused.

    Example: radfed query explain --where "PatientAge >= 50" --by PatientSex
    """
    from coordinator.cli.explaining import cost_document, expectation_row, widened
    from coordinator.federation.document import predicate

    question = _wish(where, by, unit, project, mean, (public, exact)).question
    facts: dict[str, Any] = {
        "counts": unit,
        "where": [predicate(each) for each in question.where],
        "by": list(question.group_by),
        "fields": sorted({*question.group_by, *(each.field for each in question.where)}),
        **cost_document(question, unit),
        "widened": widened(question.where),
    }
    rows = [expectation_row(each) for each in _expected(question, site or [], as_)]
    if as_json:
        print_json(facts | {"sites": rows})
        return
    for name, value in facts.items():
        if value not in ([], ""):
            typer.echo(f"{name:<8} {plain(value)}")
    columns = ("site", "here", "sigma", "rho", "from", "you spent", "left to you", "remark")
    table(rows, columns, empty="with a credential (--as), each hospital's price is told")


def _expected(
    question: "Question", sites: Sequence[str], as_: Path | None
) -> "Sequence[Expectation]":
    """Return the coordinator's expectations; none where nobody said who asks."""
    from coordinator.api.client import Credential, Federation
    from coordinator.cli.report import DEFAULT_CREDENTIAL

    if as_ is None and not sites and not (DEFAULT_CREDENTIAL / "credential.toml").exists():
        return ()
    with Federation(Credential.load(credential_dir(as_))) as federation:
        return federation.explain(question, sites)


def sign(
    file: Annotated[Path, typer.Argument(help="The question as the console's page gave it.")],
    key: Annotated[
        Path, typer.Option(envvar="RADFED_REQUESTER_KEY", help="The requester's private key.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; else beside FILE, as .signed.json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a question that the federation's page prepared: read here what it asks.

    The key is used on this machine alone; the page takes the signed file.

    Example: radfed query sign question.json --key requester.key
    """
    from coordinator.api.asking import sign as put_signature
    from coordinator.cli.explaining import tier_of, unit_of
    from coordinator.cli.keys import signer
    from coordinator.federation.document import typed
    from coordinator.federation.slip import Slip

    slip = Slip.read(file.read_text("utf-8", "replace"))
    question = slip.question
    put_signature(question, slip.federation, signer(key, "requester"), slip.deadline_seconds)
    into = out or file.with_suffix(".signed.json")
    into.write_text(slip.text(), "utf-8")
    facts = {
        "federation": slip.federation,
        "project": question.project,
        "counts": unit_of(question),
        "tier": tier_of(question),
        "where": typed(question.where) or "everything",
        "by": list(question.group_by),
        "signed_file": str(into),
        "counts_until": moment(question.signed.expires_at),
    }
    report(facts, as_json=as_json)


def ls(
    limit: Annotated[int, typer.Option(help="At most so many.")] = 100,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """List who asked what, the newest first.

    Example: radfed query ls --limit 10
    """
    from coordinator.api.client import Credential, Federation
    from coordinator.cli.explaining import tier_of, unit_of
    from coordinator.federation.document import predicate

    with Federation(Credential.load(credential_dir(as_))) as federation:
        asked = federation.questions(limit)
    rows = [
        {
            "asked_at": moment(each.asked_at),
            "requester": each.question.requester,
            "project": each.question.project,
            "counts": unit_of(each.question),
            "tier": tier_of(each.question),
            "where": " and ".join(map(predicate, each.question.where)),
            "by": list(each.question.group_by),
            "answered": each.answered,
            "asked": each.asked,
            "question_id": each.question.question_id,
        }
        for each in asked
    ]
    columns = (
        *("asked_at", "requester", "project", "counts", "tier", "where", "by"),
        *("answered", "asked"),
    )
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


def _wish(
    where: str, by: list[str] | None, unit: str, project: str, mean: str, tiers: tuple[bool, bool]
) -> "Wish":
    from coordinator.api.asking import Protection, Wish

    public, exact = tiers
    if public and exact:
        raise InvalidRequest("--public and --exact are two ways to ask: leave one out")
    protection = Protection.PUBLIC if public else Protection.EXACT if exact else Protection.NOISY
    return Wish(where, tuple(by or ()), unit, project, mean, protection)
