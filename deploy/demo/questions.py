"""The question step: one that is answered, and two that are refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.demo.centre import Centre
from deploy.demo.commands import CommandFailed
from deploy.demo.failure import DemoFailed
from deploy.demo.hospital import Hospital
from deploy.demo.screen import Screen

ANSWERED = "Modality = 'CT' AND PatientAge >= 40"
OUTSIDE = "PatientName = 'Brandorfel'"
WITHHELD = "Manufacturer"
REFUSED_IDENTITY = 6  # the documented exit code


def ask(screen: Screen, centre: Centre, hospitals: Sequence[Hospital]) -> None:
    _answered(screen, centre, hospitals)
    _outside_the_vocabulary(screen, centre)
    _against_a_policy(screen, centre, hospitals[-1])
    _without_a_signature(screen, centre)


def _answered(screen: Screen, centre: Centre, hospitals: Sequence[Hospital]) -> None:
    with screen.step("question") as step:
        words = ("--where", ANSWERED, "--by", "PatientSex")
        code, said, complaint = centre.ask(*words)
        if code != 0:
            raise CommandFailed(("query", "run", *words), code, complaint)
        step.says = f"patients with {ANSWERED}, by PatientSex; counts with noise:"
    answers = {row["site"]: row for row in said["sites"]}
    total = {tuple(cell["values"]): cell for cell in said["total"]["cells"]}
    shown = {h.site: _cells(answers[h.site]) for h in hospitals}
    values = [
        value for value in total if any(_number(cells.get(value)) for cells in shown.values())
    ]
    rows = [
        [
            " ".join(value),
            *(_number(cells.get(value)) or "below threshold" for cells in shown.values()),
            f"{total[value]['count']} ± {total[value]['margin']:.0f}",
        ]
        for value in values
    ]
    screen.table(("", *shown, "total"), rows)
    screen.keep("answer", said)
    if not rows:
        raise DemoFailed(f"no hospital answered: {said}")


def _outside_the_vocabulary(screen: Screen, centre: Centre) -> None:
    with screen.step("refused") as step:
        code, _, complaint = centre.ask("--where", OUTSIDE)
        if code == 0:
            raise DemoFailed(f"a question outside the vocabulary was answered: {OUTSIDE}")
        reason = complaint.strip().splitlines()[-1].removeprefix("radfed: ")
        step.says = f"{OUTSIDE!r}: {reason}"
        screen.keep("refused_vocabulary", {"exit_code": code, "reason": reason})


def _against_a_policy(screen: Screen, centre: Centre, refuser: Hospital) -> None:
    with screen.step("refused") as step:
        _, said, complaint = centre.ask("--where", "Modality = 'CT'", "--by", WITHHELD)
        answers = {row["site"]: row for row in (said or {}).get("sites", [])}
        refused = {site: row for site, row in answers.items() if "REFUSED" in row["state"]}
        if set(refused) != {refuser.site}:
            raise DemoFailed(f"{refuser.site} should have refused: {said or complaint}")
        answer = refused[refuser.site]
        step.says = (
            f"CT patients by {WITHHELD}: {refuser.site} says {answer['state']} ({answer['rule']}), "
            f"by its own policy; {len(answers) - 1} others answered"
        )
        screen.keep("refused_policy", answer)


def _without_a_signature(screen: Screen, centre: Centre) -> None:
    """Ask as the coordinator alone could: no hospital takes its word for who asks."""
    with screen.step("refused") as step:
        code, said, complaint = centre.ask_unsigned("--where", ANSWERED)
        rules = {row["site"]: row["rule"] for row in (said or {}).get("sites", [])}
        if code != REFUSED_IDENTITY or set(rules.values()) != {"unsigned"}:
            raise DemoFailed(f"a question nobody signed should be refused: {said or complaint}")
        step.says = f"the same question without a requester's signature: {len(rules)} refused it"
        screen.keep("refused_unsigned", {"exit_code": code, "rules": rules})


def _cells(answer: Mapping[str, Any]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    return {tuple(cell["values"]): cell for cell in answer.get("cells", [])}


def _number(cell: Mapping[str, Any] | None) -> str:
    if cell is None or cell.get("count") is None:
        return ""
    return str(cell["count"])
