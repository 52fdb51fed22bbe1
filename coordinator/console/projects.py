"""Projects: for what work is done, by whom, where and until when, as the root signed it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from coordinator.errors import NotFound
from protos.pages.visit import Page, Visit
from protos.pages.words import _
from protos.v1.federation_pb2 import ListProjectsRequest

if TYPE_CHECKING:
    from coordinator.console.pages import Console

LIST_PROJECTS = "radfed.v1.ProjectService/ListProjects"
PAGES = (Page("/projects", _("Projects"), LIST_PROJECTS),)
NOTICES: Mapping[str, str] = {}
SOON_SECONDS = 30 * 86400.0
HOSPITALS_SHOWN = 30  # of each project in the list of them all


def routes(console: "Console") -> list[Route]:
    room = Projects(console)
    return [
        Route("/projects", console.room(room.show, needs=LIST_PROJECTS)),
        Route("/projects/{name}", console.room(room.show, needs=LIST_PROJECTS)),
    ]


class Projects:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.house

    async def show(self, visit: Visit) -> Response:
        caller = self._console.caller(visit)
        listed = await self._house.call(caller, LIST_PROJECTS, ListProjectsRequest())
        now, name = self._house.now(), visit.request.path_params.get("name")
        chosen = [one for one in listed.projects if name in (None, one.name)]
        if name is not None and not chosen:
            raise NotFound("there is no such project, or it is not yours to see")
        rows = [{"says": one, "expires": one.expires_at.ToNanoseconds() / 1e9} for one in chosen]
        return await self._console.draw(
            visit,
            "projects.html",
            projects=rows,
            shown=HOSPITALS_SHOWN if name is None else len(rows[0]["says"].hospitals),
            version=listed.manifest_version,
            now=now,
            soon=now + SOON_SECONDS,
        )
