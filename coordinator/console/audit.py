"""Audit: the trail, the newest first; verified from its first entry on a press."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from coordinator.registry.rules import READ_TRAIL
from protos.pages.visit import Page, Visit, see_other
from protos.pages.words import _

if TYPE_CHECKING:
    from coordinator.console.pages import Console

PAGES = (Page("/audit", _("Audit"), READ_TRAIL),)
NOTICES: Mapping[str, str] = {}
EVERY_SECONDS = 0.5


def routes(console: "Console") -> list[Route]:
    room = Audit(console)
    return [
        Route("/audit", console.room(room.show, needs=READ_TRAIL)),
        Route("/audit", console.room(room.verify, needs=READ_TRAIL), methods=["POST"]),
        Route("/audit/live", console.live(room.part, EVERY_SECONDS, READ_TRAIL)),
    ]


class Audit:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._trail = console.house.trail

    async def show(self, visit: Visit) -> Response:
        event = visit.asked("event", 64)
        found = await self._trail.page(visit.number("before"), event)
        verifying = self._trail.verifying()
        return await self._console.draw(
            visit, "audit.html", found=found, event=event, verifying=verifying
        )

    async def verify(self, visit: Visit) -> Response:
        del visit
        self._trail.verify()
        return see_other("/audit")

    async def part(self, visit: Visit) -> tuple[str, bool]:
        verifying = self._trail.verifying()
        part = self._console.templates.part
        drawn = await run_in_threadpool(part, visit, "audit_now.html", verifying=verifying)
        return drawn, verifying is None or bool(verifying["over"])
