"""Who may use the hospital's pages: listed, invited, removed."""

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from gateway.console.rules import DECIDE, Role
from gateway.console.vocabulary import Notice
from protos.pages.visit import Visit, done

if TYPE_CHECKING:
    from gateway.console.pages import Console


def routes(console: "Console") -> list[Route]:
    room = People(console)
    change = console.room(room.change_people, needs=DECIDE)
    return [
        Route("/people", console.room(room.people)),
        Route("/people", change, methods=["POST"]),
    ]


class People:
    def __init__(self, console: "Console") -> None:
        self._setting = console.setting
        self._page = console.templates.page

    def people(self, visit: Visit, link: str = "") -> Response:
        everyone = self._setting.accounts.everyone()
        return self._page(visit, "people.html", everyone=everyone, link=link, roles=list(Role))

    def change_people(self, visit: Visit) -> Response:
        if visit.form.get("act") == "invite":
            role = Role.STEWARD if visit.form.get("role") == Role.STEWARD else Role.READER
            token = self._setting.accounts.invite(role, visit.who)
            self._setting.house.record("console_invited", role=str(role), by=visit.who)
            return self.people(visit, f"{visit.request.base_url}enter/{token}")
        name = visit.form.get("name", "")
        if name.casefold() != visit.who.casefold() and self._setting.accounts.remove(name):
            self._setting.sessions.end_all_of(name)
            self._setting.house.record("console_account_removed", account=name, by=visit.who)
        return done("/people", Notice.REMOVED)
