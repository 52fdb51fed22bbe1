"""Who is in: kept here, and the browser holds a random name of it and no more."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from protos.pages.accounts import Account
from protos.pages.rules import Age, is_over


@dataclass(frozen=True, slots=True)
class Session:
    name: str
    account: Account
    form_token: str  # every form of this session carries it


@dataclass(slots=True)
class _Held:
    session: Session
    began: float
    asked: float


class Sessions:
    """In memory: a restart of the house ends them all."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._lock = Lock()
        self._key = secrets.token_bytes(32)

    def begin(self, account: Account) -> Session:
        """Make a session of a new name: what a browser brought to the login is no session."""
        session = Session(secrets.token_urlsafe(32), account, secrets.token_urlsafe(32))
        now = self._clock()
        with self._lock:
            self._sweep(now)
            self._held[_digest(session.name)] = _Held(session, now, now)
        return session

    def find(self, name: str) -> Session | None:
        now = self._clock()
        with self._lock:
            self._sweep(now)
            held = self._held.get(_digest(name))
            if held is None:
                return None
            held.asked = now
            return held.session

    def stands(self, name: str) -> bool:
        """Say whether a session goes on, without keeping it alive."""
        with self._lock:
            self._sweep(self._clock())
            return _digest(name) in self._held

    def end(self, name: str) -> None:
        with self._lock:
            self._held.pop(_digest(name), None)

    def end_all_of(self, account: str) -> None:
        with self._lock:
            for key in [
                k for k, held in self._held.items() if held.session.account.name == account
            ]:
                del self._held[key]

    def guest_token(self, guest: str) -> str:
        """Return what a form of somebody not yet in carries: bound to the guest's own cookie."""
        return hmac.new(self._key, guest.encode("utf-8", "replace"), sha256).hexdigest()

    def _sweep(self, now: float) -> None:
        over = [
            key
            for key, held in self._held.items()
            if is_over(Age(now - held.began, now - held.asked))
        ]
        for key in over:
            del self._held[key]


def _digest(name: str) -> str:
    # Looked up by digest: how long a look takes tells nothing of the name.
    return sha256(name.encode("utf-8", "replace")).hexdigest()
