"""What is read more than decided: what left, the budget, the policy, the trail, the sources."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.console.rules import DECIDE
from protos.pages.visit import Visit

if TYPE_CHECKING:
    from gateway.console.pages import Console


def routes(console: "Console") -> list[Route]:
    boards, room = Boards(console), console.room
    return [
        Route("/sent", room(boards.sent)),
        Route("/sent", room(boards.verify_sent), methods=["POST"]),
        Route("/sent/export.jsonl", room(boards.export)),
        Route("/sent/totals", room(boards.totals)),
        Route("/sent/{number:int}", room(boards.sent_entry)),
        Route("/budget", room(boards.budget)),
        Route("/policy", room(boards.policy)),
        Route("/audit", room(boards.audit)),
        Route("/audit", room(boards.verify_audit), methods=["POST"]),
        Route("/sources", room(boards.sources)),
        Route("/sources", room(boards.echo, needs=DECIDE), methods=["POST"]),
    ]


class Boards:
    def __init__(self, console: "Console") -> None:
        self._page = console.templates.page
        self._house = console.setting.house

    def sent(self, visit: Visit) -> Response:
        kind = visit.asked("kind", 20)
        found = self._house.sent(visit.number("before"), kind)
        return self._page(visit, "sent.html", found=found, kind=kind, verified=None)

    def verify_sent(self, visit: Visit) -> Response:
        verified = self._house.verify_sent()
        found = self._house.sent(0, "")
        return self._page(visit, "sent.html", found=found, kind="", verified=verified)

    def sent_entry(self, visit: Visit) -> Response:
        entry = self._house.sent_entry(visit.request.path_params["number"])
        message = entry["message"]
        shown = (
            message
            if isinstance(message, str)
            else json.dumps(message, indent=2, ensure_ascii=False)
        )
        return self._page(visit, "sent_entry.html", entry=entry, shown=shown)

    def totals(self, visit: Visit) -> Response:
        return self._page(visit, "sent_totals.html", totals=self._house.sent_totals())

    def export(self, _visit: Visit) -> Response:
        def lines() -> Iterator[str]:
            for row in self._house.export_sent():
                yield json.dumps(row, ensure_ascii=False) + "\n"

        name = {"content-disposition": 'attachment; filename="ledger.jsonl"'}
        return StreamingResponse(lines(), media_type="application/jsonl", headers=name)

    def budget(self, visit: Visit) -> Response:
        return self._page(visit, "budget.html", budget=self._house.budget())

    def policy(self, visit: Visit) -> Response:
        return self._page(visit, "policy.html", policy=self._house.policy())

    def audit(self, visit: Visit) -> Response:
        event = visit.asked("event", 64)
        found = self._house.audit(visit.number("before"), event)
        return self._page(visit, "audit.html", found=found, event=event, verified=None)

    def verify_audit(self, visit: Visit) -> Response:
        verified = self._house.verify_audit()
        found = self._house.audit(0, "")
        return self._page(visit, "audit.html", found=found, event="", verified=verified)

    def sources(self, visit: Visit) -> Response:
        return self._page(visit, "sources.html", sources=self._house.sources(), echoed=None)

    def echo(self, visit: Visit) -> Response:
        echoed = self._house.echo(visit.form.get("name", ""), visit.who)
        return self._page(visit, "sources.html", sources=self._house.sources(), echoed=echoed)
