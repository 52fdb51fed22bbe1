"""Today: what came, what waits, and how the gateway is; it renews itself while it is looked at."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.console.visit import Visit

if TYPE_CHECKING:
    from gateway.console.pages import Console

EVERY_SECONDS = 5.0
LOOKS = 720  # then the page asks anew: a stream holds no session open for ever


def routes(console: "Console") -> list[Route]:
    board = Board(console)
    return [Route("/", console.room(board.show)), Route("/today/live", board.live)]


class Board:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.setting.house

    def show(self, visit: Visit) -> Response:
        facts = self._house.today()
        hours = json.dumps([[at, count] for at, count in facts["hours"]])
        return self._console.templates.page(visit, "today.html", today=facts, hours=hours)

    async def live(self, request: Request) -> Response:
        visit = self._console.visit(request)
        if visit.session is None:
            return PlainTextResponse("", 403)
        return StreamingResponse(self._news(visit), media_type="text/event-stream")

    async def _news(self, visit: Visit) -> AsyncIterator[str]:
        shown = ""
        assert visit.session is not None
        for _ in range(LOOKS):
            await asyncio.sleep(EVERY_SECONDS)
            # Looking on is not asking: an idle session ends although its page renews itself.
            if not self._console.setting.sessions.stands(visit.session.name):
                return
            part = await run_in_threadpool(self._part, visit)
            if part != shown:
                shown = part
                yield "".join(f"data: {line}\n" for line in part.splitlines()) + "\n"

    def _part(self, visit: Visit) -> str:
        return self._console.templates.part(visit, "today_now.html", today=self._house.today())
