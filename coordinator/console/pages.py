"""The operators' page of the fleet: read-only, on this machine alone, behind a one-time link."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp

from coordinator.model import JobRecord, Site

HERE = Path(__file__).parent
COOKIE = "radfed_session"
LOCAL = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Sites = Callable[[], Awaitable[Sequence[tuple[Site, bool]]]]
Jobs = Callable[[], Awaitable[Sequence[JobRecord]]]


@dataclass(slots=True)
class Session:
    """One browser: the link works once, the cookie it earns until the coordinator stops."""

    token: str | None
    cookie: str

    @classmethod
    def new(cls) -> "Session":
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32))

    def redeem(self, token: str) -> bool:
        if self.token is None or not compare_digest(self.token.encode(), token.encode()):
            return False
        self.token = None
        return True


class _Guard(BaseHTTPMiddleware):
    """Every answer carries the headers; nothing but the link is shown without the cookie."""

    def __init__(self, app: ASGIApp, session: Session) -> None:
        super().__init__(app)
        self._session = session

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        given = request.cookies.get(COOKIE, "")
        known = compare_digest(given.encode(), self._session.cookie.encode())
        response: Response
        if known or request.url.path == "/enter":
            response = await call_next(request)
        else:
            response = PlainTextResponse("open the link `radfed coordinator run` printed", 403)
        response.headers.update(HEADERS)
        return response


def make(federation: str, session: Session, sites: Sites, jobs: Jobs) -> Starlette:
    """Build the application."""
    templates = Jinja2Templates(HERE / "templates")
    templates.env.filters["moment"] = _moment

    async def fleet(request: Request) -> Response:
        facts = {"federation": federation, "sites": await sites(), "jobs": await jobs()}
        return templates.TemplateResponse(request, "fleet.html", facts)

    async def enter(request: Request) -> Response:
        if not session.redeem(request.query_params.get("token", "")):
            return PlainTextResponse("this link was used: restart the coordinator for another", 403)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, session.cookie, httponly=True, samesite="strict", path="/")
        return response

    return Starlette(
        routes=[
            Route("/", fleet),
            Route("/enter", enter),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[
            # A page of another origin that rebinds its name to this machine is turned away.
            Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL)),
            Middleware(_Guard, session=session),
        ],
    )


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
