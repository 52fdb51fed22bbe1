"""Today: what came, what waits, and how the gateway is; it renews itself while it is looked at."""

import json
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from protos.pages.visit import Visit

if TYPE_CHECKING:
    from gateway.console.pages import Console

EVERY_SECONDS = 5.0


def routes(console: "Console") -> list[Route]:
    board = Board(console)
    live = console.live(board.part, EVERY_SECONDS)
    return [Route("/", console.room(board.show)), Route("/today/live", live)]


class Board:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.setting.house

    def show(self, visit: Visit) -> Response:
        facts = self._house.today()
        hours = json.dumps([[at, count] for at, count in facts["hours"]])
        return self._console.templates.page(visit, "today.html", today=facts, hours=hours)

    async def part(self, visit: Visit) -> tuple[str, bool]:
        return await run_in_threadpool(self._part, visit), False

    def _part(self, visit: Visit) -> str:
        return self._console.templates.part(visit, "today_now.html", today=self._house.today())
