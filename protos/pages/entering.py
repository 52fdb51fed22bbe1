"""Coming in: the one-time link, name with password and code, or a certificate; and going out."""

import segno
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from protos.pages import proofs
from protos.pages.accounts import USED, Account, NotAdmitted
from protos.pages.rules import is_name, password_fault, way_back
from protos.pages.shell import Shell
from protos.pages.visit import WELCOME, Visit, see_other
from protos.pages.words import _

LANGUAGE_SECONDS = 365 * 86400
NO_NAME = _("A name has one to 64 visible characters.")


def routes(shell: Shell) -> list[Route]:
    entrance = Entrance(shell)
    room = shell.room
    return [
        Route("/login", room(entrance.login, public=True)),
        Route("/login", room(entrance.enter, public=True), methods=["POST"]),
        Route("/logout", room(entrance.leave), methods=["POST"]),
        Route("/language", room(entrance.speak, public=True), methods=["POST"]),
        Route("/enter/{token}", room(entrance.welcome, public=True)),
        Route("/enter/{token}", room(entrance.accept, public=True), methods=["POST"]),
    ]


class Entrance:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._terms = shell.terms
        self._page = shell.templates.page

    def login(self, visit: Visit) -> Response:
        back = way_back(visit.asked("next", 2000))
        if visit.session is not None:
            return see_other(back)
        return self._login(visit, back, 200)

    def _login(self, visit: Visit, back: str, status: int) -> Response:
        certified = self._terms.certified(visit.request)
        facts = {"certified": certified, "failed": status != 200, "sayings": self._terms.sayings}  # noqa: PLR2004 - HTTP
        return self._page(visit, "login.html", status, back=back, **facts)

    def enter(self, visit: Visit) -> Response:
        back = way_back(visit.form.get("next", "/"))
        certified = self._terms.certified(visit.request)
        if certified is not None and "certificate" in visit.form:
            self._terms.record(
                "console_entered",
                by=self._terms.named(certified),
                address=visit.address,
                proof="certificate",
            )
            return self._shell.let_in(visit, certified, back)
        form = visit.form
        name, password = form.get("name", "").strip(), form.get("password", "")
        if not is_name(name):
            name = "?"  # nobody's: it takes as long, and stays off the trail
        code = form.get("code", "").strip()
        found = self._terms.accounts.admit(name, password[:256], code[:10], visit.address)
        if isinstance(found, NotAdmitted):
            # What was typed as a name may be a password: only a name that exists is recorded.
            facts = {"account": found.known or "unknown", "address": visit.address}
            event = "console_locked" if found.locked else "console_refused"
            self._terms.record(event, **facts)
            return self._login(visit, back, 403)
        self._terms.record(
            "console_entered",
            by=self._terms.named(found),
            address=visit.address,
            proof="password and code",
        )
        return self._shell.let_in(visit, found, back)

    def _entered(self, visit: Visit, account: Account, proof: str) -> None:
        by = self._terms.named(account)
        self._terms.record("console_entered", by=by, address=visit.address, proof=proof)

    def leave(self, visit: Visit) -> Response:
        assert visit.session is not None
        self._terms.sessions.end(visit.session.name)
        self._terms.record("console_left", by=self._terms.named(visit.account))
        answer = see_other("/login")
        answer.delete_cookie(self._shell.session_cookie, secure=self._terms.over_tls)
        return answer

    def speak(self, visit: Visit) -> Response:
        answer = see_other(way_back(visit.form.get("next", "/")))
        if (tag := visit.form.get("language", "")) in self._shell.templates.languages:
            self._shell.keep(answer, self._shell.language_cookie, tag, LANGUAGE_SECONDS)
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
        invitation = self._terms.accounts.invitation(token)
        found = self._terms.accounts.accept(token, name, password, form.get("code", "").strip())
        if isinstance(found, str) or invitation is None:
            return self._invited(visit, str(found))
        self._terms.record(
            "console_account_made",
            invited_by=invitation.by,
            account=found.name,
            role=found.role,
            by=self._terms.named(found),
        )
        return self._shell.let_in(visit, found, f"/?done={WELCOME}")

    def _invited(self, visit: Visit, fault: str) -> Response:
        token = visit.request.path_params["token"]
        invitation = self._terms.accounts.invitation(token)
        if invitation is None:
            return self._shell.templates.fault(visit, 403, USED, self._terms.sayings.invite)
        name = invitation.name or visit.form.get("name", "")
        told = proofs.provisioning(invitation.secret, name or "account", self._terms.site)
        return self._page(
            visit,
            "welcome.html",
            403 if fault else 200,
            fault=fault,
            name=name,
            fixed=invitation.name,
            organisation=invitation.organisation,
            role=invitation.role,
            sayings=self._terms.sayings,
            secret=proofs.spelled(invitation.secret),
            code=_drawn(told),
        )


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
