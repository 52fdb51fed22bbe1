"""The hospital console as an ASGI application: who asks is found out first, then a room answers."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from gateway.console import boards, entering, inbox, quarantine, studies, today
from gateway.console.accounts import Account, Accounts
from gateway.console.headers import SafeHeaders, SmallBodies
from gateway.console.house import House
from gateway.console.languages import preferred
from gateway.console.sessions import Session, Sessions
from gateway.console.visit import Answer, Templates, Visit, see_other
from gateway.errors import ExitCode, GatewayError

log = structlog.get_logger()

FIELDS_AT_MOST = 40
FOREIGN = frozenset({"cross-site", "same-site"})
STATIC = Path(__file__).parent / "static"
STATUS: Mapping[ExitCode, int] = {ExitCode.CONFIGURATION: 404, ExitCode.REFUSED_IDENTITY: 403}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the console is built from."""

    site: str
    house: House
    accounts: Accounts
    sessions: Sessions
    over_tls: bool = False
    two_person: bool = False
    # Who the client certificate of a connection is, where the settings name it.
    certified: Callable[[Request], Account | None] = lambda _request: None


@dataclass(frozen=True, slots=True)
class Needs:
    """Who may ask for a page."""

    session: bool
    steward: bool


class Console:
    """Admits, refuses, translates faults; the rooms do the rest."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.templates = Templates(setting.site)
        # A prefix that a browser holds to: this host, this path, TLS (RFC 6265bis 4.1.3).
        prefix = "__Host-" if setting.over_tls else ""
        self.session_cookie, self.guest_cookie = f"{prefix}radfed", f"{prefix}radfed-guest"
        self.language_cookie = f"{prefix}radfed-language"

    def room(
        self, answer: Answer, *, public: bool = False, decides: bool = False
    ) -> Callable[[Request], Any]:
        needs = Needs(session=not public, steward=decides)

        async def endpoint(request: Request) -> Response:
            form: dict[str, str] = {}
            if request.method == "POST":
                raw = (await request.body()).decode("utf-8", "replace")
                try:
                    pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=FIELDS_AT_MOST)
                except ValueError:
                    return PlainTextResponse("This is not a form of these pages.", 400)
                form = dict(pairs)
            return await run_in_threadpool(self._admit, request, form, answer, needs)

        return endpoint

    def visit(self, request: Request, form: Mapping[str, str] | None = None) -> Visit:
        sessions = self.setting.sessions
        name = request.cookies.get(self.session_cookie, "")
        session = self._standing(sessions.find(name)) if name else None
        guest = request.cookies.get(self.guest_cookie) or secrets.token_urlsafe(24)
        token = sessions.guest_token(guest) if session is None else session.form_token
        tag = request.cookies.get(self.language_cookie, "")
        if tag not in self.templates.languages:
            tag = preferred(request.headers.get("accept-language", ""))
        return Visit(request, self.templates.languages[tag], session, guest, token, form or {})

    def _standing(self, session: Session | None) -> Session | None:
        """Return a session whose account is still there, in the role it had at the login."""
        if session is None or session.account.made_at == 0.0:  # by certificate: the settings say
            return session
        held = self.setting.accounts.account(session.account.name)
        if held == session.account:
            return session
        self.setting.sessions.end(session.name)
        return None

    def keep(self, answer: Response, name: str, value: str, seconds: int | None = None) -> None:
        answer.set_cookie(
            name,
            value,
            max_age=seconds,
            httponly=True,
            samesite="strict",
            path="/",
            secure=self.setting.over_tls,
        )

    def let_in(self, visit: Visit, account: Account, path: str) -> Response:
        """Begin a session of a new name, whatever the browser brought."""
        self.setting.sessions.end(visit.request.cookies.get(self.session_cookie, ""))
        answer = see_other(path)
        self.keep(answer, self.session_cookie, self.setting.sessions.begin(account).name)
        return answer

    def _admit(
        self,
        request: Request,
        form: Mapping[str, str],
        answer: Answer,
        needs: Needs,
    ) -> Response:
        visit = self.visit(request, form)
        if visit.session is None and needs.session:
            back = request.url.path
            if request.method == "GET" and request.url.query:
                back += f"?{request.url.query}"
            return see_other(f"/login?next={quote(back, safe='')}")
        if request.method == "POST" and not self._is_ours(visit):
            return self.templates.fault(
                visit,
                403,
                "This form is not of this session.",
                "Go back, reload the page, and try again.",
            )
        if needs.steward and not visit.may_decide:
            return self.templates.fault(
                visit, 403, "Your account may look, not decide.", "Ask a steward."
            )
        try:
            found = answer(visit)
        except GatewayError as fault:
            found = self.templates.fault(visit, STATUS.get(fault.exit_code, 409), str(fault))
        except Exception as fault:  # noqa: BLE001 - a message could hold what a log may not
            log.error("page_failed", page=answer.__qualname__, fault=type(fault).__name__)  # noqa: TRY400 - as above
            says = "A fault of this gateway: nothing was decided."
            found = self.templates.fault(visit, 500, says, "Try again; the gateway's log names it.")
        if visit.session is None and self.guest_cookie not in request.cookies:
            self.keep(found, self.guest_cookie, visit.guest)
        return found

    def _is_ours(self, visit: Visit) -> bool:
        site = visit.request.headers.get("sec-fetch-site", "")
        shown = visit.form.get("form_token", "")
        return site not in FOREIGN and secrets.compare_digest(
            shown.encode("utf-8", "replace"), visit.form_token.encode()
        )


def build(setting: Setting) -> Starlette:
    """Return the console as an ASGI application."""
    console = Console(setting)
    rooms = (entering, today, studies, quarantine, inbox, boards)
    routes: list[Route | Mount] = [route for room in rooms for route in room.routes(console)]
    # Compressed are these files alone: a page holds a form's token beside what strangers wrote.
    static = GZipMiddleware(_Static(directory=STATIC), minimum_size=500)
    routes.append(Mount("/static", static))
    middleware = [Middleware(SafeHeaders), Middleware(SmallBodies)]

    def missing(request: Request, _fault: Exception) -> Response:
        visit = console.visit(request)
        return console.templates.fault(visit, 404, "There is no such page.")

    return Starlette(routes=routes, middleware=middleware, exception_handlers={404: missing})


class _Static(StaticFiles):
    """Our own files; a browser asks again whether one changed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_age(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", b"max-age=3600")]
            await send(message)

        await super().__call__(scope, receive, send_with_age)
