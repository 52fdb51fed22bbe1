"""Quarantine: why something waits, what to change, and the decision: release or drop."""

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from gateway.console.rules import DECIDE
from gateway.console.vocabulary import Notice
from protos.pages.visit import Visit, done

if TYPE_CHECKING:
    from gateway.console.pages import Console


def routes(console: "Console") -> list[Route]:
    room = QuarantineRoom(console)
    decide = console.room(room.decide, needs=DECIDE)
    decide_many = console.room(room.decide_many, needs=DECIDE)
    return [
        Route("/quarantine", console.room(room.overview)),
        Route("/quarantine", decide_many, methods=["POST"]),
        Route("/quarantine/{entry}", console.room(room.show)),
        Route("/quarantine/{entry}", decide, methods=["POST"]),
    ]


class QuarantineRoom:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.setting.house

    def overview(self, visit: Visit) -> Response:
        reason, sender = visit.asked("reason", 500), visit.asked("sender", 64)
        found = self._house.quarantine(reason, sender, visit.asked("after", 64))
        return self._console.templates.page(
            visit, "quarantine.html", found=found, reason=reason, sender=sender, many=None
        )

    def show(self, visit: Visit) -> Response:
        entry = self._house.quarantined(visit.request.path_params["entry"])
        return self._console.templates.page(visit, "quarantine_entry.html", entry=entry)

    def decide(self, visit: Visit) -> Response:
        entry = visit.request.path_params["entry"]
        if visit.form.get("act") == "release":
            self._house.release(entry, visit.who)
            return done("/quarantine", Notice.RELEASED)
        if visit.form.get("act") == "drop" and visit.form.get("sure"):
            self._house.drop(entry, visit.who)
            return done("/quarantine", Notice.DROPPED)
        return self.show(visit)

    def decide_many(self, visit: Visit) -> Response:
        reason, sender = visit.form.get("reason", ""), visit.form.get("sender", "")
        release = visit.form.get("act") == "release"
        many = None
        if (reason or sender) and (release or visit.form.get("sure")):
            many = self._house.decide_many(reason, sender, visit.who, release=release)
        found = self._house.quarantine(reason, sender, "")
        return self._console.templates.page(
            visit, "quarantine.html", found=found, reason=reason, sender=sender, many=many
        )
