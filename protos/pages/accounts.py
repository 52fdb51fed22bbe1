"""Who may use a console: kept in rows of its house's account alone, wherever those lie."""

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from protos.pages.account_file import AccountFile
from protos.pages.proofs import PasswordHash, new_secret, step_of
from protos.pages.rules import (
    FAILURES_OF_ACCOUNT,
    FAILURES_OF_ADDRESS,
    INVITATION_SECONDS,
    LOCK_SECONDS,
    is_locked,
)
from protos.pages.words import _

# Each house names its tables by its own prefix; texts are compared as NOCASE does.
ACCOUNT = """
    SELECT name, role, salt, digest, secret, last_step, made_at, organisation
      FROM {0}account WHERE lower(name) = lower(?)
"""
ACCOUNTS = "SELECT name, role, made_at, organisation FROM {0}account ORDER BY name"
ADD = """
    INSERT INTO {0}account (name, role, salt, digest, secret, last_step, made_at, organisation)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
USE_STEP = "UPDATE {0}account SET last_step = ? WHERE lower(name) = lower(?) AND last_step < ?"
REMOVE = "DELETE FROM {0}account WHERE lower(name) = lower(?)"
OF_ROLE = "SELECT count(*) FROM {0}account WHERE role = ?"
INVITE = """
    INSERT INTO {0}invitation (token, role, secret, by, expires, name, organisation)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
INVITATION = """
    SELECT role, secret, by, name, organisation FROM {0}invitation WHERE token = ? AND expires > ?
"""
USE_INVITATION = "DELETE FROM {0}invitation WHERE token = ? AND expires > ?"
FORGET_INVITATIONS = "DELETE FROM {0}invitation WHERE expires <= ?"
FAIL = "INSERT INTO {0}failure (who, at) VALUES (?, ?)"
FAILURES = "SELECT at FROM {0}failure WHERE who = ? AND at > ?"
FORGET_FAILURES = "DELETE FROM {0}failure WHERE at <= ? OR who = ?"
CONSENT = """
    INSERT INTO {0}consent (job_id, bundle, name, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
TAKE_BACK = "DELETE FROM {0}consent WHERE lower(name) = lower(?)"
CONSENTS = "SELECT name FROM {0}consent WHERE job_id = ? AND bundle = ? ORDER BY at"
WHOLE = """
    SELECT name, role, salt, digest, secret, last_step, made_at, organisation FROM {0}account
"""
LINKS = "SELECT token, role, secret, by, expires, name, organisation FROM {0}invitation"
FAILED = "SELECT who, at FROM {0}failure"
USED = _("This link was used or is too old: ask for another.")
DUMMY = PasswordHash(bytes(16), bytes(32))  # nobody's: an unknown name takes as long as a known


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may come in; `until` is when a certificate ends, where one stands for it."""

    name: str
    role: str
    made_at: float
    organisation: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a link makes an account of; without a `name` whoever opens it chooses one."""

    role: str
    secret: bytes
    by: str
    name: str = ""
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """A login that failed; `known` is the account's name where there is one."""

    known: str | None
    locked: bool


class Writing(Protocol):
    """One transaction: all of it happens, or nothing."""

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]: ...

    def write(self, sql: str, values: tuple[object, ...]) -> int: ...  # how many rows it met


class Rows(Protocol):
    """Where accounts lie; values stand at the `?` of each statement."""

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]: ...

    def transaction(self) -> AbstractContextManager[Writing]: ...

    def close(self) -> None: ...


class Accounts:
    """Commands and the console may both write."""

    def __init__(self, rows: Rows, now: Callable[[], float]) -> None:
        self._rows = rows
        self._now = now
        self.close = rows.close

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> "Accounts":
        return cls(AccountFile(path), now)

    # Coming in

    def admit(self, name: str, password: str, code: str, address: str) -> Account | NotAdmitted:
        """Return whoever proved to be `name`; each failure counts against name and address."""
        held = self._row(name)
        known = None if held is None else str(held[0])
        whose, where = f"account {name.casefold()}", f"address {address}"
        if self.is_locked(whose, FAILURES_OF_ACCOUNT) or self.is_locked(where, FAILURES_OF_ADDRESS):
            return NotAdmitted(known, locked=True)
        fits = (DUMMY if held is None else PasswordHash(held[2], held[3])).fits(password)
        if held is not None and fits and self._uses(held, code):
            self._forgive(whose)
            return _account(held)
        for who in (whose, where):
            self._write(FAIL, (who, self._now()))
        return NotAdmitted(known, locked=self.is_locked(whose, FAILURES_OF_ACCOUNT))

    def is_locked(self, who: str, at_most: int) -> bool:
        now = self._now()
        failures = [at for (at,) in self._read(FAILURES, (who, now - LOCK_SECONDS))]
        return is_locked(failures, now, at_most)

    def _uses(self, held: tuple[Any, ...], code: str) -> bool:
        step = step_of(held[4], code, self._now(), held[5])
        return step is not None and self._write(USE_STEP, (step, held[0], step)) == 1

    def _forgive(self, who: str) -> None:
        self._write(FORGET_FAILURES, (self._now() - LOCK_SECONDS, who))

    # Who there is

    def everyone(self) -> list[Account]:
        return [Account(*row) for row in self._read(ACCOUNTS)]

    def account(self, name: str) -> Account | None:
        held = self._row(name)
        return None if held is None else _account(held)

    def remove(self, name: str) -> bool:
        """Remove an account, and what it has consented to and nobody has decided yet."""
        with self._rows.transaction() as rows:
            rows.write(TAKE_BACK, (name,))
            return rows.write(REMOVE, (name,)) == 1

    def has(self, role: str) -> bool:
        """Say whether anybody of a role has an account."""
        return int(self._read(OF_ROLE, (role,))[0][0]) > 0

    def invite(
        self,
        role: str,
        by: str,
        seconds: float = INVITATION_SECONDS,
        *,
        name: str = "",
        organisation: str = "",
    ) -> str:
        """Return the token of a link that makes one account."""
        token = secrets.token_urlsafe(32)
        self._write(FORGET_INVITATIONS, (self._now(),))
        until = self._now() + seconds
        self._write(INVITE, (_digest(token), role, new_secret(), by, until, name, organisation))
        return token

    def invitation(self, token: str) -> Invitation | None:
        found = self._read(INVITATION, (_digest(token), self._now()))
        return Invitation(*found[0]) if found else None

    def accept(self, token: str, name: str, password: str, code: str) -> Account | str:
        """Make the account a link invites to, or say why not; the link is then worth nothing."""
        invitation = self.invitation(token)
        if invitation is None:
            return USED
        name = invitation.name or name
        step = step_of(invitation.secret, code, self._now(), 0)
        if step is None:
            return _("The code is wrong: check that the phone's clock is right.")
        fresh = PasswordHash.of(password)
        now = self._now()
        with self._rows.transaction() as rows:
            if rows.read(ACCOUNT, (name,)):
                return _("Somebody has this name already: choose another.")
            if rows.write(USE_INVITATION, (_digest(token), now)) != 1:
                return USED
            proofs = (fresh.salt, fresh.digest, invitation.secret, step)
            rows.write(ADD, (name, invitation.role, *proofs, now, invitation.organisation))
        return Account(name, invitation.role, now, invitation.organisation)

    def take_in(self, other: "Accounts") -> None:
        """Take over who is known elsewhere, with open links and failures, in one step."""
        people, links, failures = (other.whole(sql) for sql in (WHOLE, LINKS, FAILED))
        with self._rows.transaction() as rows:
            for person in people:
                if not rows.read(ACCOUNT, (person[0],)):
                    rows.write(ADD, person)
            for link in links:
                if not rows.read(INVITATION, (link[0], 0.0)):
                    rows.write(INVITE, link)
            for failure in failures:
                rows.write(FAIL, failure)

    def whole(self, sql: str) -> list[tuple[Any, ...]]:
        return self._read(sql)

    # Two who agree

    def consent(self, job_id: str, bundle: str, name: str) -> None:
        self._write(CONSENT, (job_id, bundle, name, self._now()))

    def consents(self, job_id: str, bundle: str) -> list[str]:
        return [str(name) for (name,) in self._read(CONSENTS, (job_id, bundle))]

    def _row(self, name: str) -> tuple[Any, ...] | None:
        return next(iter(self._read(ACCOUNT, (name,))), None)

    def _read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return self._rows.read(sql, values)

    def _write(self, sql: str, values: tuple[object, ...]) -> int:
        with self._rows.transaction() as rows:
            return rows.write(sql, values)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _account(held: tuple[Any, ...]) -> Account:
    return Account(str(held[0]), str(held[1]), float(held[6]), str(held[7]))
