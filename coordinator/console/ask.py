"""Ask: a filter built by clicking or typing, its cost first, then the question with a signature.

No private key comes here: the page gives the question as a file, `radfed query sign` signs it where
the key lies, and the page takes the signed file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from coordinator.console.house import Prepared
from coordinator.console.picking import composed, pickable
from coordinator.errors import InvalidRequest
from coordinator.federation.document import typed
from coordinator.federation.slip import Slip
from protos.pages.visit import Page, Visit, see_other
from protos.pages.words import _
from protos.price import DEFAULT_REQUESTER_SHARE, DEFAULT_RHO_PER_YEAR, cells
from protos.v1.federation_pb2 import (
    Expectation,
    ExplainQuestionRequest,
    ListProjectsRequest,
    ListQuestionsRequest,
)
from protos.vocabulary import FIELDS, FieldKind

if TYPE_CHECKING:
    from coordinator.console.pages import Console

ASK = "radfed.v1.QueryService/AskQuestion"
EXPLAIN = "radfed.v1.QueryService/ExplainQuestion"
LIST = "radfed.v1.QueryService/ListQuestions"
PROJECTS = "radfed.v1.ProjectService/ListProjects"
PAGES = (Page("/ask", _("Ask"), LIST),)
NOTICES: Mapping[str, str] = {}
UNITS = {
    "patients": _("patients"),
    "studies": _("studies"),
    "series": _("series"),
    "instances": _("instances"),
    "bytes": _("MiB"),
}
TIERS = {
    "noisy": _("with noise: charged to the hospitals' budgets"),
    "public": _("from the public tables: free, without conditions"),
    "exact": _("exact, small cells hidden: for a project the hospitals signed for"),
}
HISTORY = 20
DEADLINE = 30
SITES_SHOWN = 400


@dataclass(frozen=True, slots=True)
class Form:
    """What the address bar asks, as the form shows it again."""

    where: str
    by: tuple[str, str]
    unit: str
    mean: str
    tier: str
    project: str
    sites: str
    deadline: int
    quorum: int

    @classmethod
    def of(cls, visit: Visit) -> "Form":
        asked = visit.request.query_params
        picks = asked.getlist("pick")[:200]
        ranges = {name: (visit.asked(f"from-{name}", 16), visit.asked(f"to-{name}", 16))
                  for name in FIELDS}  # fmt: skip
        return cls(
            where=composed(visit.asked("where", 4001), picks, ranges),
            by=(visit.asked("by", 40), visit.asked("by2", 40)),
            unit=visit.asked("unit", 20) or "patients",
            mean=visit.asked("mean", 40),
            tier=visit.asked("tier", 10) or "noisy",
            project=visit.asked("project", 64),
            sites=visit.asked("sites", 8000),
            deadline=visit.number("deadline") or DEADLINE,
            quorum=visit.number("quorum"),
        )

    @property
    def groups(self) -> list[str]:
        return [name for name in dict.fromkeys(self.by) if name]

    @property
    def named_sites(self) -> tuple[str, ...]:
        return tuple(self.sites.replace(",", " ").split())

    def link(self, path: str) -> str:
        """Return the same question on another path."""
        said = {
            "where": self.where, "by": self.by[0], "by2": self.by[1], "unit": self.unit,
            "mean": self.mean, "tier": self.tier, "project": self.project, "sites": self.sites,
            "deadline": str(self.deadline), "quorum": str(self.quorum), "look": "1",
        }  # fmt: skip
        return f"{path}?{urlencode({name: value for name, value in said.items() if value})}"


def routes(console: "Console") -> list[Route]:
    room = Ask(console)
    return [
        Route("/ask", console.room(room.show, needs=LIST)),
        Route("/ask", console.room(room.ask, needs=ASK), methods=["POST"]),
        Route("/ask/question.json", console.room(room.slip, needs=ASK)),
    ]


class Ask:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.house

    async def show(self, visit: Visit, fault: str = "", status: int = 200) -> Response:
        form = Form.of(visit)
        facts: dict[str, Any] = {"prepared": None, "cost": None, "slip": "", "fault": fault}
        if visit.asked("look") and not fault and visit.may(EXPLAIN):
            try:
                facts |= await self._looked(visit, form)
            except InvalidRequest as wrong:
                facts["fault"], status = str(wrong), 400
        return await self._console.draw(
            visit,
            "ask.html",
            status,
            form=form,
            units=UNITS,
            tiers=TIERS,
            fields=pickable(),
            numbers=[name for name, one in FIELDS.items() if one.kind is FieldKind.NUMBER],
            projects=await self._projects(visit),
            history=await self._history(visit),
            may_ask=visit.may(ASK),
            **facts,
        )

    async def slip(self, visit: Visit) -> Response:
        """Give the question as a file, to be signed."""
        form = Form.of(visit)
        text = self._slip(form, self._prepared(form)).text()
        name = {"content-disposition": 'attachment; filename="question.json"'}
        return Response(text, media_type="application/json", headers=name)

    async def ask(self, visit: Visit) -> Response:
        signed = visit.form.get("signed", "").strip()
        try:
            slip = self._ours(signed or visit.form.get("slip", ""))
            name = await self._house.questions.ask(slip, self._console.caller(visit))
        except InvalidRequest as wrong:
            return await self.show(visit, str(wrong), 400)
        return see_other(f"/ask/{name}")

    def _ours(self, text: str) -> Slip:
        slip = Slip.read(text)
        if slip.federation != self._console.setting.federation:
            raise InvalidRequest("this question is for another federation")
        return slip

    def _prepared(self, form: Form) -> Prepared:
        return self._house.questions.prepare(
            form.where, form.groups, form.unit, form.project, form.mean, form.tier
        )

    def _slip(self, form: Form, prepared: Prepared) -> Slip:
        return Slip(
            self._console.setting.federation,
            prepared.question,
            form.named_sites,
            min(form.deadline, 86400),
            min(form.quorum, 2000),
            prepared.summarise,
        )

    async def _looked(self, visit: Visit, form: Form) -> dict[str, Any]:
        """Return the question as it is understood, and what it would cost."""
        prepared = self._prepared(form)
        request = ExplainQuestionRequest(question=prepared.question, sites=form.named_sites)
        caller = self._console.caller(visit)
        told = await self._house.call(caller, EXPLAIN, request)
        return {
            "prepared": prepared,
            "typed": typed(prepared.question.where),
            "cost": cost(told.expectations, prepared.question.group_by),
            "slip": self._slip(form, prepared).text(),
            "slip_link": form.link("/ask/question.json"),
        }

    async def _projects(self, visit: Visit) -> list[str]:
        if not visit.may(PROJECTS):
            return []
        caller = self._console.caller(visit)
        listed = await self._house.call(caller, PROJECTS, ListProjectsRequest())
        return [project.name for project in listed.projects]

    async def _history(self, visit: Visit) -> list[dict[str, Any]]:
        request = ListQuestionsRequest(limit=HISTORY)
        listed = await self._house.call(self._console.caller(visit), LIST, request)
        return [
            {
                "name": each.question.question_id,
                "at": each.asked_at.ToNanoseconds() / 1e9,
                "by": each.question.requester.rpartition("/")[2],
                "project": each.question.project,
                "where": typed(each.question.where),
                "groups": list(each.question.group_by),
                "answered": each.answered,
                "asked": each.asked,
            }
            for each in listed.questions
        ]


def cost(expected: Sequence[Expectation], group_by: Sequence[str]) -> dict[str, Any]:
    """Say what a question would cost over all hospitals, and at each."""
    charged = [each.rho for each in expected]
    return {
        "hospitals": len(expected),
        "up": sum(each.connected for each in expected),
        "cells": cells(group_by),
        "rho": max(charged, default=0.0),
        "least": min(charged, default=0.0),
        "repeats": sum(each.is_repeat for each in expected),
        "known": sum(each.is_known for each in expected),
        "refused": sum(bool(each.refused_before) for each in expected),
        "over": sum(each.rho > each.left_for_you for each in expected if each.rho),
        "year": DEFAULT_RHO_PER_YEAR,
        "share": DEFAULT_RHO_PER_YEAR * DEFAULT_REQUESTER_SHARE,
        "rows": list(expected[:SITES_SHOWN]),
    }
