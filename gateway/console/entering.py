"""Coming in: the one-time link, name with password and code, or a certificate; and going out."""

from typing import TYPE_CHECKING

import segno
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from gateway.console import proofs
from gateway.console.accounts import NotAdmitted
from gateway.console.rules import Role, is_name, password_fault, way_back
from gateway.console.visit import Visit, done, see_other
from gateway.console.vocabulary import Notice

if TYPE_CHECKING:
    from gateway.console.pages import Console

LANGUAGE_SECONDS = 365 * 86400
NO_NAME = "A name has one to 64 visible characters."


def routes(console: "Console") -> list[Route]:
    entrance = Entrance(console)
    room = console.room
    return [
        Route("/login", room(entrance.login, public=True)),
        Route("/login", room(entrance.enter, public=True), methods=["POST"]),
        Route("/logout", room(entrance.leave), methods=["POST"]),
        Route("/language", room(entrance.speak, public=True), methods=["POST"]),
        Route("/enter/{token}", room(entrance.welcome, public=True)),
        Route("/enter/{token}", room(entrance.accept, public=True), methods=["POST"]),
        Route("/people", room(entrance.people)),
        Route("/people", room(entrance.change_people, decides=True), methods=["POST"]),
    ]


class Entrance:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._setting = console.setting
        self._page = console.templates.page

    def login(self, visit: Visit) -> Response:
        back = way_back(visit.asked("next", 2000))
        if visit.session is not None:
            return see_other(back)
        certified = self._setting.certified(visit.request)
        return self._page(visit, "login.html", back=back, certified=certified, failed=False)

    def enter(self, visit: Visit) -> Response:
        back = way_back(visit.form.get("next", "/"))
        certified = self._setting.certified(visit.request)
        if certified is not None and "certificate" in visit.form:
            self._setting.house.record(
                "console_entered", by=certified.name, address=visit.address, proof="certificate"
            )
            return self._console.let_in(visit, certified, back)
        form = visit.form
        name, password = form.get("name", "").strip(), form.get("password", "")
        if not is_name(name):
            name = "?"  # nobody's: it takes as long, and stays off the trail
        code = form.get("code", "").strip()
        found = self._setting.accounts.admit(name, password[:256], code[:10], visit.address)
        if isinstance(found, NotAdmitted):
            # What was typed as a name may be a password: only a name that exists is recorded.
            facts = {"account": found.known or "unknown", "address": visit.address}
            event = "console_locked" if found.locked else "console_refused"
            self._setting.house.record(event, **facts)
            return self._page(visit, "login.html", 403, back=back, certified=certified, failed=True)
        self._setting.house.record(
            "console_entered", by=found.name, address=visit.address, proof="password and code"
        )
        return self._console.let_in(visit, found, back)

    def leave(self, visit: Visit) -> Response:
        assert visit.session is not None
        self._setting.sessions.end(visit.session.name)
        self._setting.house.record("console_left", by=visit.who)
        answer = see_other("/login")
        answer.delete_cookie(self._console.session_cookie, secure=self._setting.over_tls)
        return answer

    def speak(self, visit: Visit) -> Response:
        answer = see_other(way_back(visit.form.get("next", "/")))
        if (tag := visit.form.get("language", "")) in self._console.templates.languages:
            self._console.keep(answer, self._console.language_cookie, tag, LANGUAGE_SECONDS)
        return answer

    def welcome(self, visit: Visit) -> Response:
        return self._invited(visit, "")

    def accept(self, visit: Visit) -> Response:
        token, form = visit.request.path_params["token"], visit.form
        name, password = form.get("name", "").strip(), form.get("password", "")
        fault = None if is_name(name) else NO_NAME
        fault = fault or password_fault(password, form.get("again", ""), name)
        if fault is not None:
            return self._invited(visit, fault)
        found = self._setting.accounts.accept(token, name, password, form.get("code", "").strip())
        if isinstance(found, str):
            return self._invited(visit, found)
        self._setting.house.record(
            "console_account_made", account=found.name, role=str(found.role), by=found.name
        )
        return self._console.let_in(visit, found, f"/?done={Notice.WELCOME}")

    def _invited(self, visit: Visit, fault: str) -> Response:
        token = visit.request.path_params["token"]
        invitation = self._setting.accounts.invitation(token)
        if invitation is None:
            says = "This link was used or is too old: ask for another."
            cure = "On the server: radfed gateway console invite"
            return self._console.templates.fault(visit, 403, says, cure)
        name = visit.form.get("name", "")
        told = proofs.provisioning(invitation.secret, name or "account", self._setting.site)
        return self._page(
            visit,
            "welcome.html",
            403 if fault else 200,
            fault=fault,
            name=name,
            role=invitation.role,
            secret=proofs.spelled(invitation.secret),
            code=_drawn(told),
        )

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


def _drawn(text: str) -> Markup:
    """Return a QR code as inline SVG: one path, no style, nothing fetched."""
    matrix = segno.make(text, error="m", micro=False).matrix
    size = len(matrix) + 8  # a quiet zone of four modules (ISO/IEC 18004 5.3.8)
    path = "".join(
        f"M{x + 4} {y + 4}h1v1h-1z"
        for y, row in enumerate(matrix)
        for x, dark in enumerate(row)
        if dark & 1
    )
    return Markup(
        '<svg class="code" viewBox="0 0 {0} {0}" aria-hidden="true"><rect width="{0}" height="{0}" '
        'fill="#fff"/><path fill="#000" d="{1}"/></svg>'
    ).format(size, path)
