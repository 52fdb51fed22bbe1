"""Studies: found by what the address bar asks, looked at by slices, their headers explained."""

from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from gateway.console.house import StudyFilter
from protos.pages.visit import Visit

if TYPE_CHECKING:
    from gateway.console.pages import Console


def routes(console: "Console") -> list[Route]:
    room = StudiesRoom(console)
    return [
        Route("/studies", console.room(room.overview)),
        Route("/studies/{study}", console.room(room.show)),
        Route("/series/{series}", console.room(room.series)),
        Route("/series/{series}/{number:int}.png", console.room(room.picture)),
        Route("/series/{series}/small.png", console.room(room.small)),
    ]


class StudiesRoom:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.setting.house

    def overview(self, visit: Visit) -> Response:
        wanted = StudyFilter(
            **{name: visit.asked(name, 64).strip() for name in StudyFilter.__dataclass_fields__}
        )
        found = self._house.studies(wanted, visit.asked("after", 64))
        asked = {name: value for name, value in asdict(wanted).items() if value}
        searched = visit.number("searched") + found["searched"]
        onward = None
        if found["last"]:
            onward = f"/studies?{urlencode(asked | {'after': found['last'], 'searched': searched})}"
        facts = {"found": found, "wanted": wanted, "onward": onward, "searched": searched}
        if visit.request.headers.get("hx-request") == "true":
            part = self._console.templates.part(visit, "studies_rows.html", **facts)
            return Response(part, media_type="text/html")
        return self._console.templates.page(visit, "studies.html", **facts)

    def show(self, visit: Visit) -> Response:
        found = self._house.study(visit.request.path_params["study"])
        if found is None:
            return self._missing(visit)
        return self._console.templates.page(visit, "study.html", study=found)

    def series(self, visit: Visit) -> Response:
        number = max(visit.number("image"), 1)
        found = self._house.series(visit.request.path_params["series"], number)
        if found is None:
            return self._missing(visit)
        return self._console.templates.page(visit, "series.html", series=found)

    def picture(self, visit: Visit) -> Response:
        return self._drawn(visit, visit.request.path_params["number"], small=False)

    def small(self, visit: Visit) -> Response:
        return self._drawn(visit, 0, small=True)

    def _drawn(self, visit: Visit, number: int, *, small: bool) -> Response:
        picture = self._house.picture(visit.request.path_params["series"], number, small=small)
        if picture is None:
            return Response(_NOTHING, media_type="image/svg+xml")
        return Response(picture, media_type="image/png")

    def _missing(self, visit: Visit) -> Response:
        says = "This study is not here, or is not shown any more."
        return self._console.templates.fault(visit, 404, says, "Look among the studies.")


_NOTHING = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
    b'<path d="M8 8l48 48M56 8L8 56" stroke="#888" stroke-width="2"/></svg>'
)
