"""Who may come in: lock-out, sessions' ends, passwords, names, where a login returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from protos.pages.words import _

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 10 * 3600.0  # a working day
LOCK_SECONDS = 15 * 60.0
FAILURES_OF_ACCOUNT = 5
FAILURES_OF_ADDRESS = 20  # several people may sit behind one
INVITATION_SECONDS = 24 * 3600.0
PASSWORD_AT_LEAST = 12
PASSWORD_AT_MOST = 256
NAME_AT_MOST = 64


@dataclass(frozen=True, slots=True)
class Age:
    """How old a session is, and how long nothing was asked in it."""

    since_login: float
    since_asked: float


def is_over(age: Age) -> bool:
    return age.since_login > LONGEST_SECONDS or age.since_asked > IDLE_SECONDS


def is_locked(failures: Sequence[float], now: float, at_most: int) -> bool:
    """Say whether somebody failed too often of late."""
    return sum(1 for at in failures if now - at < LOCK_SECONDS) >= at_most


def password_fault(password: str, again: str, name: str) -> str | None:
    """Return what is wrong with a new password, as a sentence of the catalogue's."""
    if password != again:
        return _("The two passwords differ.")
    if not PASSWORD_AT_LEAST <= len(password) <= PASSWORD_AT_MOST:
        return _("A password has at least 12 characters and at most 256.")
    if len(set(password)) < 5 or name.lower() in password.lower():  # noqa: PLR2004 - aaaabbbbcccc
        return _("This password is easily guessed.")
    return None


def is_name(name: str) -> bool:
    """Tell whether a name can stand on the audit trail: one line, nothing invisible."""
    return 0 < len(name) <= NAME_AT_MOST and name.isprintable() and name == name.strip()


def way_back(path: str) -> str:
    """Return where a login leads: a page of this console, never another host."""
    parts = urlsplit(path)
    fits = path.isprintable() and path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if fits and not parts.scheme and not parts.netloc else "/"
