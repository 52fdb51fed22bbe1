"""A console as an ASGI application: who asks is found out first, then a room answers."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, quote

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from protos.pages.accounts import Account, Accounts
from protos.pages.headers import SafeHeaders, SmallBodies
from protos.pages.languages import preferred
from protos.pages.sessions import Session, Sessions
from protos.pages.visit import Answer, Page, Refusals, Templates, Visit, as_catalogued, see_other
from protos.pages.words import _

log = structlog.get_logger()

FIELDS_AT_MOST = 40
FOREIGN = frozenset({"cross-site", "same-site"})
STATIC = Path(__file__).parent / "static"
LOOKS_SECONDS = 3600.0  # then a page that renews itself asks anew: no stream is for ever
OVER = "event: over\ndata:\n\n"  # as `sse-close="over"` waits for it


@dataclass(frozen=True, slots=True)
class Sayings:
    """What the shared pages say of a house, as its catalogues have it."""

    no_account: str  # how somebody without an account gets one
    invite: str  # the command that makes a link
    roles: str  # who may do what
    ask: str  # whom to ask for more rights
    failed: str  # where to look after a fault


@dataclass(frozen=True, slots=True)
class Terms:
    """What a console is told of the house it belongs to."""

    site: str
    package: str  # whose templates, catalogues and static files stand beside the shared ones
    pages: Sequence[Page]
    notices: Mapping[str, str]
    sayings: Sayings
    accounts: Accounts
    sessions: Sessions
    record: Callable[..., None]  # puts an event on the house's audit trail
    permits: Callable[[Account, str], bool]
    denied: Callable[[Account, str], None]  # told of each act that was not permitted
    faults: Callable[[Exception], tuple[int, str] | None]  # a status and a sentence, where expected
    named: Callable[[Account], str] = lambda account: account.name  # as the trail has somebody
    refusals: Refusals = as_catalogued  # says such a sentence in a reader's language
    over_tls: bool = False
    # Who the client certificate of a connection is, where one counts.
    certified: Callable[[Request], Account | None] = lambda _request: None
    hosts: Sequence[str] = ()  # by which names alone the pages are asked for; none: any
    larger: Mapping[str, int] = field(default_factory=dict)  # paths whose bodies may be longer
    scripts: Sequence[str] = ()  # of the package's own `static`, for every page


class Shell:
    """Admits, refuses, translates faults; the rooms do the rest."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.templates = Templates(
            terms.site,
            terms.package,
            terms.pages,
            terms.notices,
            terms.scripts,
            terms.refusals,
        )
        # A prefix that a browser holds to: this host, this path, TLS (RFC 6265bis 4.1.3).
        prefix = "__Host-" if terms.over_tls else ""
        self.session_cookie, self.guest_cookie = f"{prefix}radfed", f"{prefix}radfed-guest"
        self.language_cookie = f"{prefix}radfed-language"

    def room(
        self, answer: Answer, *, public: bool = False, needs: str = ""
    ) -> Callable[[Request], Any]:
        """Return what answers at a route; `needs` is the act somebody must be permitted."""

        async def endpoint(request: Request) -> Response:
            form: dict[str, str] = {}
            if request.method == "POST":
                raw = (await request.body()).decode("utf-8", "replace")
                try:
                    pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=FIELDS_AT_MOST)
                except ValueError:
                    return PlainTextResponse("This is not a form of these pages.", 400)
                form = dict(pairs)
            visit = await run_in_threadpool(self.visit, request, form)
            refused = await run_in_threadpool(self._refused, visit, needs, public)
            found = await self._answered(visit, answer) if refused is None else refused
            if visit.session is None and self.guest_cookie not in request.cookies:
                self.keep(found, self.guest_cookie, visit.guest)
            return found

        return endpoint

    def live(
        self, part: Callable[[Visit], Awaitable[tuple[str, bool]]], every: float, needs: str = ""
    ) -> Callable[[Request], Any]:
        """Return what sends a part of a page as often as it changes, until `part` says: over."""

        async def endpoint(request: Request) -> Response:
            visit = await run_in_threadpool(self.visit, request)
            if not visit.may(needs):
                if visit.session is not None:
                    await run_in_threadpool(self.terms.denied, visit.account, needs)
                return PlainTextResponse("", 403)
            return StreamingResponse(self._news(visit, part, every), media_type="text/event-stream")

        return endpoint

    async def draw(
        self,
        visit: Visit,
        template: str,
        status: int = 200,
        **context: Any,  # noqa: ANN401 - what a template shows
    ) -> Response:
        """Return a page, made beside the loop: four hundred rows take a while."""
        return await run_in_threadpool(self.templates.page, visit, template, status, **context)

    def visit(self, request: Request, form: Mapping[str, str] | None = None) -> Visit:
        sessions = self.terms.sessions
        name = request.cookies.get(self.session_cookie, "")
        session = self._standing(sessions.find(name)) if name else None
        guest = request.cookies.get(self.guest_cookie) or secrets.token_urlsafe(24)
        token = sessions.guest_token(guest) if session is None else session.form_token
        tag = request.cookies.get(self.language_cookie, "")
        if tag not in self.templates.languages:
            tag = preferred(request.headers.get("accept-language", ""))
        language = self.templates.languages[tag]
        return Visit(request, language, session, guest, token, form or {}, self.terms.permits)

    def _standing(self, session: Session | None) -> Session | None:
        """Return a session whose account is still there, in the role it had at the login."""
        if session is None or session.account.made_at == 0.0:  # by certificate: it says so itself
            return session
        held = self.terms.accounts.account(session.account.name)
        if held == session.account:
            return session
        self.terms.sessions.end(session.name)
        return None

    def keep(self, answer: Response, name: str, value: str, seconds: int | None = None) -> None:
        answer.set_cookie(
            name,
            value,
            max_age=seconds,
            httponly=True,
            samesite="strict",
            path="/",
            secure=self.terms.over_tls,
        )

    def let_in(self, visit: Visit, account: Account, path: str) -> Response:
        """Begin a session of a new name, whatever the browser brought."""
        self.terms.sessions.end(visit.request.cookies.get(self.session_cookie, ""))
        answer = see_other(path)
        self.keep(answer, self.session_cookie, self.terms.sessions.begin(account).name)
        return answer

    def _refused(self, visit: Visit, needs: str, public: bool) -> Response | None:  # noqa: FBT001 - of `room`
        """Return what stands in the way; None where nothing does."""
        request = visit.request
        if visit.session is None and not public:
            back = request.url.path
            if request.method == "GET" and request.url.query:
                back += f"?{request.url.query}"
            return see_other(f"/login?next={quote(back, safe='')}")
        if request.method == "POST" and not self._is_ours(visit):
            if visit.session is not None:
                by = self.terms.named(visit.account)
                self.terms.record("console_form_refused", by=by, address=visit.address)
            return self.templates.fault(
                visit,
                403,
                _("This form is not of this session."),
                _("Go back, reload the page, and try again."),
            )
        if not public and not visit.may(needs):
            self.terms.denied(visit.account, needs)
            says = _("Your account may not do this.")
            return self.templates.fault(visit, 403, says, self.terms.sayings.ask)
        return None

    async def _answered(self, visit: Visit, answer: Answer) -> Response:
        try:
            if iscoroutinefunction(answer):
                return cast("Response", await answer(visit))
            return await run_in_threadpool(cast("Callable[[Visit], Response]", answer), visit)
        except Exception as fault:  # noqa: BLE001 - a message could hold what a log may not
            return await run_in_threadpool(self._failed, visit, answer, fault)

    def _failed(self, visit: Visit, answer: Answer, fault: Exception) -> Response:
        if (expected := self.terms.faults(fault)) is not None:
            return self.templates.fault(visit, *expected)
        log.error("page_failed", page=answer.__qualname__, fault=type(fault).__name__)
        says = _("A fault of this server: nothing was decided.")
        return self.templates.fault(visit, 500, says, self.terms.sayings.failed)

    async def _news(
        self, visit: Visit, part: Callable[[Visit], Awaitable[tuple[str, bool]]], every: float
    ) -> AsyncIterator[str]:
        shown = ""
        assert visit.session is not None
        for _look in range(round(LOOKS_SECONDS / every)):
            await asyncio.sleep(every)
            # Looking on is not asking: an idle session ends although its page renews itself.
            if not self.terms.sessions.stands(visit.session.name):
                return
            now, is_over = await part(visit)
            if now != shown:
                shown = now
                yield "".join(f"data: {line}\n" for line in now.splitlines()) + "\n"
            if is_over:
                yield OVER
                return

    def _is_ours(self, visit: Visit) -> bool:
        site = visit.request.headers.get("sec-fetch-site", "")
        shown = visit.form.get("form_token", "")
        return site not in FOREIGN and secrets.compare_digest(
            shown.encode("utf-8", "replace"), visit.form_token.encode()
        )

    def build(self, routes: Sequence[BaseRoute], own: Path | None = None) -> Starlette:
        """Return the application: a house's routes, and the files that all pages share."""
        # Compressed are these files alone: a page holds a form's token beside what strangers wrote.
        mounts = [Mount("/static", GZipMiddleware(_Static(directory=STATIC), minimum_size=500))]
        if own is not None:
            mounts.append(Mount("/own", GZipMiddleware(_Static(directory=own), minimum_size=500)))
        middleware = [
            Middleware(SafeHeaders),
            Middleware(SmallBodies, larger=self.terms.larger),
        ]
        if self.terms.hosts:
            # A page of another origin that rebinds its name to this machine is turned away.
            hosts = list(self.terms.hosts)
            middleware.insert(1, Middleware(TrustedHostMiddleware, allowed_hosts=hosts))

        def missing(request: Request, _fault: Exception) -> Response:
            return self.templates.fault(self.visit(request), 404, _("There is no such page."))

        return Starlette(
            routes=[*routes, *mounts], middleware=middleware, exception_handlers={404: missing}
        )


class _Static(StaticFiles):
    """Our own files; a browser asks again whether one changed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_age(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", b"max-age=3600")]
            await send(message)

        await super().__call__(scope, receive, send_with_age)
