"""What every answer carries, and how much a request may bring."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM_BYTES = 64 << 10
# Pico draws its arrows and ticks as data: images; nothing else is inline, and no host but ours.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
FRESH = (b"cache-control", b"no-store")
SECURE = (b"strict-transport-security", b"max-age=31536000")
TOO_LARGE = b"This is more than a form of these pages holds."


class SafeHeaders:
    """Add the headers that keep a page inert to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name.lower() for name, _ in message["headers"]}
                more = HEADERS if b"cache-control" in said else (*HEADERS, FRESH)
                more = (*more, SECURE) if scope["scheme"] == "https" else more
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class SmallBodies:
    """Refuse a large body as it comes, whatever its header says."""

    def __init__(self, app: ASGIApp, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at_most = self._larger.get(scope["path"], FORM_BYTES)
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > at_most:
            await _refuse(send)
            return
        taken = 0

        async def receive_little() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > at_most:
                raise TooLarge
            return message

        try:
            await self._app(scope, receive_little, send)
        except TooLarge:
            await _refuse(send)


class TooLarge(Exception):
    """More came than a form holds."""


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": TOO_LARGE})
