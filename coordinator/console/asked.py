"""One question: answers as they come, hospital by hospital; figures, charts and files of them."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from coordinator.console.ask import LIST, TIERS, UNITS
from coordinator.console.rule_words import RULES, STATES
from coordinator.federation.desk import Seen
from coordinator.federation.document import document, predicate, state_of, typed
from protos.pages.visit import Page, Visit
from protos.v1.question_pb2 import Answer, CountUnit, Tier
from protos.vocabulary import labels

if TYPE_CHECKING:
    from coordinator.console.pages import Console

PAGES: Sequence[Page] = ()
NOTICES: Mapping[str, str] = {}
EVERY_SECONDS = 0.5
CELLS_SHOWN = 400
SERIES_SHOWN = 6  # more bars beside each other nobody tells apart
COLUMNS = ("site", "state", "rule", "epoch", "sigma", "rho")


def routes(console: "Console") -> list[Route]:
    room = Asked(console)
    live = console.live(room.part, EVERY_SECONDS, LIST)
    name = "{name:str}"
    return [
        Route(f"/ask/{name}.json", console.room(room.as_json, needs=LIST)),
        Route(f"/ask/{name}.csv", console.room(room.as_csv, needs=LIST)),
        Route(f"/ask/{name}/live", live),
        Route(f"/ask/{name}", console.room(room.show, needs=LIST)),
    ]


class Asked:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._questions = console.house.questions

    async def show(self, visit: Visit) -> Response:
        seen = await self._seen(visit)
        return await run_in_threadpool(
            lambda: self._console.templates.page(visit, "asked.html", **_shown(seen))
        )

    async def part(self, visit: Visit) -> tuple[str, bool]:
        seen = await self._seen(visit)
        part = self._console.templates.part
        drawn = await run_in_threadpool(lambda: part(visit, "asked_now.html", **_shown(seen)))
        return drawn, not seen.is_open

    async def as_json(self, visit: Visit) -> Response:
        seen = await self._seen(visit)
        paper = {
            "question_id": seen.question.question_id,
            "asked_at": seen.asked_at,
            "is_open": seen.is_open,
            "awaited": [site for site in seen.sites if site not in seen.answers],
            **document(seen.question, seen.answers, seen.total),
        }
        text = json.dumps(paper, indent=1, ensure_ascii=False)
        return _file(text, "application/json", f"{seen.question.question_id}.json")

    async def as_csv(self, visit: Visit) -> Response:
        seen = await self._seen(visit)
        text = await run_in_threadpool(table, seen)
        return _file(text, "text/csv; charset=utf-8", f"{seen.question.question_id}.csv")

    async def _seen(self, visit: Visit) -> Seen:
        name = visit.request.path_params["name"]
        return await self._questions.seen(name, self._console.caller(visit))


def table(seen: Seen) -> str:
    """Return a row for each cell of each hospital, and one for a hospital that gave none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    groups = list(seen.question.group_by)
    writer.writerow([*COLUMNS, *groups, "cell_state", "count"])
    for site in seen.sites:
        writer.writerows(
            [_inert(value) for value in row] for row in _rows(site, seen.answers.get(site), groups)
        )
    return out.getvalue()


def _rows(site: str, answer: Answer | None, groups: Sequence[str]) -> Iterator[list[Any]]:
    if answer is None:
        yield [site, "AWAITED", *("",) * (len(COLUMNS) + len(groups))]
        return
    known = [
        site, state_of(answer.state), answer.rule, answer.epoch, answer.sigma, answer.rho,
    ]  # fmt: skip
    if not answer.cells:
        yield [*known, *("",) * (len(groups) + 2)]
    for cell in answer.cells:
        count = cell.count if cell.HasField("count") else ""
        yield [*known, *cell.values, state_of(cell.state), count]


def _inert(value: object) -> object:
    """Keep a spreadsheet from taking a hospital's word, or a label, for a formula."""
    risky = isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}
    return f"'{value}" if risky else value


def _file(text: str, kind: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=kind, headers=headers)


def _shown(seen: Seen) -> dict[str, Any]:
    question, answers = seen.question, seen.answers
    states = Counter(state_of(answer.state) for answer in answers.values())
    named = {
        site: {
            "state": state_of(answer.state),
            "says": RULES.get(answer.rule, ""),
            "answer": answer,
        }
        for site, answer in answers.items()
    }
    drawn = chart(seen) if seen.total.cells else {}
    return {
        "question": question,
        "name": question.question_id,
        "by": question.requester.rpartition("/")[2],
        "at": seen.asked_at,
        "is_open": seen.is_open,
        "filter": [predicate(each) for each in question.where],
        "typed": typed(question.where),
        "unit": UNITS[CountUnit.Name(question.unit).removeprefix("COUNT_UNIT_").lower()],
        "tier": TIERS[Tier.Name(question.tier or Tier.TIER_NOISY).removeprefix("TIER_").lower()],
        "groups": list(question.group_by),
        "counted": [(state, says, states[state]) for state, says in STATES.items()],
        "awaited": len(seen.sites) - len(answers),
        "asked": len(seen.sites),
        "total": seen.total,
        "cells": seen.total.cells[:CELLS_SHOWN],
        "more": max(0, len(seen.total.cells) - CELLS_SHOWN),
        "sites": [(site, named.get(site)) for site in seen.sites],
        "states": STATES,
        "chart": json.dumps(drawn, ensure_ascii=False),
        "left_out": drawn.get("left_out", 0),
        "drawn": SERIES_SHOWN,
    }


def _said(answer: Answer) -> dict[str, Any]:
    return {
        "state": state_of(answer.state),
        "says": RULES.get(answer.rule, ""),
        "answer": answer,
    }


def chart(seen: Seen) -> dict[str, Any]:
    """Return the sums as bars: the first group along the axis, the second beside each other."""
    groups = list(seen.question.group_by)
    sums = {tuple(cell.values): cell for cell in seen.total.cells}
    if not groups:
        (cell,) = sums.values()
        return {"labels": [""], "series": [_bars("", [cell])]}
    along = [one for one in labels(groups[0]) if any(key[0] == one for key in sums)]
    if len(groups) == 1:
        return {"labels": along, "series": [_bars("", [sums.get((one,)) for one in along])]}
    beside = [one for one in labels(groups[1]) if any(key[1] == one for key in sums)]
    largest = sorted(beside, key=lambda one: -sum(_count(sums.get((x, one))) for x in along))
    shown = [one for one in beside if one in largest[:SERIES_SHOWN]]
    series = [_bars(one, [sums.get((x, one)) for x in along]) for one in shown]
    return {"labels": along, "series": series, "left_out": len(beside) - len(shown)}


def _count(cell: Any) -> float:  # noqa: ANN401 - a cell or none
    return 0.0 if cell is None else float(cell.count)


def _bars(name: str, sums: Sequence[Any]) -> dict[str, Any]:
    """Return bars with what their noise leaves; a cell that no hospital gave is no bar."""
    return {
        "name": name,
        "counts": [None if cell is None else cell.count for cell in sums],
        "margins": [None if cell is None else round(cell.margin, 1) for cell in sums],
    }
