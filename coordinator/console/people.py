"""People and keys: who may use these pages, and whose signatures count, as the root signed it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from coordinator.console.rules import PEOPLE
from coordinator.registry.rules import CHANGE_PEOPLE, SEE_PEOPLE, invited_person
from protos.pages.visit import Page, Visit, done
from protos.pages.words import _

if TYPE_CHECKING:
    from coordinator.console.pages import Console

PAGES = (Page("/people", _("People and keys"), SEE_PEOPLE),)
REMOVED = "removed"
NOTICES: Mapping[str, str] = {REMOVED: _("The account is removed and its sessions are ended.")}
SOON_SECONDS = 30 * 86400.0  # a key that ends is signed anew by two custodians: that takes a while


def routes(console: "Console") -> list[Route]:
    room = People(console)
    change = console.room(room.change, needs=CHANGE_PEOPLE)
    return [
        Route("/people", console.room(room.show, needs=SEE_PEOPLE)),
        Route("/people", change, methods=["POST"]),
    ]


class People:
    """Accounts lie in a file of this machine, so that this room works in threads."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._terms = console.terms
        self._house = console.house

    def show(self, visit: Visit, link: str = "") -> Response:
        now = self._house.now()
        return self._console.templates.page(
            visit,
            "people.html",
            everyone=self._terms.accounts.everyone(),
            link=link,
            roles=PEOPLE,
            manifest=self._house.manifest(),
            now=now,
            soon=now + SOON_SECONDS,
            change=CHANGE_PEOPLE,
        )

    def change(self, visit: Visit) -> Response:
        by = self._terms.named(visit.account)
        if visit.form.get("act") == "invite":
            form = visit.form
            name, organisation = (form.get(k, "").strip() for k in ("name", "organisation"))
            role = invited_person(form.get("role", ""), name, organisation)
            accounts = self._terms.accounts
            token = accounts.invite(role, by, name=name, organisation=organisation)
            self._terms.record("console_invited", account=name, role=role, by=by)
            return self.show(visit, f"{visit.request.base_url}enter/{token}")
        name = visit.form.get("name", "")
        if name.casefold() != visit.who.casefold() and self._terms.accounts.remove(name):
            self._terms.sessions.end_all_of(name)
            self._terms.record("console_account_removed", account=name, by=by)
        return done("/people", REMOVED)
