"""The data steward's pages: what came, what waits, what left. Read-only, on this machine.

Whoever opens them proves with the one-time link that `radfed gateway run` wrote for its account
alone that they may: the link's token becomes a session cookie and is then worth nothing.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "radfed-session"
NEWEST = 100
LINK_SECONDS = 600.0  # a link that nobody opened is worth nothing after that
POLICY = (
    b"default-src 'none'; style-src 'self'; form-action 'none'; "
    b"frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Facts(Protocol):
    """What the pages show; `app` knows where it comes from."""

    def status(self) -> Mapping[str, Any]: ...

    def quarantined(self) -> Sequence[Mapping[str, Any]]: ...

    def sent(self, newest: int) -> Sequence[Mapping[str, Any]]: ...


class Door:
    """Who may see the pages: one link, used once and soon, then a cookie."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expires = clock() + LINK_SECONDS
        self.link_token = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._unused = True
        self._lock = threading.Lock()

    def exchange(self, token: str) -> str | None:
        """Return the session for the link's token, the first time it is shown in time."""
        with self._lock:
            fresh = self._unused and self._clock() < self._expires
            if fresh and secrets.compare_digest(token.encode(), self.link_token.encode()):
                self._unused = False
                return self._session
        return None

    def admits(self, request: Request) -> bool:
        shown = request.cookies.get(COOKIE, "")
        return secrets.compare_digest(shown.encode(), self._session.encode())


class SafeHeaders:
    """Add the headers that keep a page inert to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def build(facts: Facts, door: Door) -> Starlette:
    """Return the console as an ASGI application."""
    pages = Environment(
        loader=PackageLoader("gateway.console"), autoescape=select_autoescape(default=True)
    )

    def page(
        template: str, context: Callable[[], Mapping[str, Any]]
    ) -> Callable[[Request], Response]:
        def show(request: Request) -> Response:
            if not door.admits(request):
                return PlainTextResponse(
                    "Open the link: `radfed gateway status` names the file it is in.", 403
                )
            return HTMLResponse(pages.get_template(template).render(context()))

        return show

    def enter(request: Request) -> Response:
        session = door.exchange(request.path_params["token"])
        if session is None:
            return PlainTextResponse(
                "This link was used or is too old: restart the gateway for another.", 403
            )
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", path="/")
        return answer

    def style(_: Request) -> Response:
        return Response(pages.get_template("console.css").render(), media_type="text/css")

    routes = [
        Route("/", page("today.html", lambda: {"status": facts.status()})),
        Route("/quarantine", page("quarantine.html", lambda: {"rows": facts.quarantined()})),
        Route("/sent", page("sent.html", lambda: {"rows": facts.sent(NEWEST), "newest": NEWEST})),
        Route("/enter/{token}", enter),
        Route("/console.css", style),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SafeHeaders)])
