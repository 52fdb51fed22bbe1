"""Who may use the console: one SQLite file of the gateway's account alone."""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from gateway.console.proofs import PasswordHash, new_secret, step_of
from gateway.console.rules import (
    FAILURES_OF_ACCOUNT,
    FAILURES_OF_ADDRESS,
    INVITATION_SECONDS,
    LOCK_SECONDS,
    Role,
    is_locked,
)

SCHEMA = """
    CREATE TABLE IF NOT EXISTS account (
        name      TEXT PRIMARY KEY COLLATE NOCASE,
        role      TEXT NOT NULL,
        salt      BLOB NOT NULL,
        digest    BLOB NOT NULL,  -- scrypt
        secret    BLOB NOT NULL,  -- TOTP
        last_step INTEGER NOT NULL,  -- a code counts once
        made_at   REAL NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS invitation (
        token   BLOB PRIMARY KEY,  -- SHA-256: the link itself is nowhere
        role    TEXT NOT NULL,
        secret  BLOB NOT NULL,
        by      TEXT NOT NULL,
        expires REAL NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS failure (who TEXT NOT NULL, at REAL NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS failure_who ON failure (who, at);
    CREATE TABLE IF NOT EXISTS consent (  -- a first steward's, where two must agree
        job_id TEXT NOT NULL,
        bundle TEXT NOT NULL,
        name   TEXT NOT NULL COLLATE NOCASE,
        at     REAL NOT NULL,
        PRIMARY KEY (job_id, bundle, name)
    ) STRICT;
"""
ACCOUNT = "SELECT name, role, salt, digest, secret, last_step, made_at FROM account WHERE name = ?"
ACCOUNTS = "SELECT name, role, made_at FROM account ORDER BY name"
ADD = "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?)"
USE_STEP = "UPDATE account SET last_step = ? WHERE name = ? AND last_step < ?"
REMOVE = "DELETE FROM account WHERE name = ?"
STEWARDS = "SELECT count(*) FROM account WHERE role = 'steward'"
INVITE = "INSERT INTO invitation VALUES (?, ?, ?, ?, ?)"
INVITATION = "SELECT role, secret, by, expires FROM invitation WHERE token = ? AND expires > ?"
USE_INVITATION = "DELETE FROM invitation WHERE token = ? AND expires > ?"
FORGET_INVITATIONS = "DELETE FROM invitation WHERE expires <= ?"
FAIL = "INSERT INTO failure VALUES (?, ?)"
FAILURES = "SELECT at FROM failure WHERE who = ? AND at > ?"
FORGET_FAILURES = "DELETE FROM failure WHERE at <= ? OR who = ?"
CONSENT = "INSERT INTO consent VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
TAKE_BACK = "DELETE FROM consent WHERE name = ?"
CONSENTS = "SELECT name FROM consent WHERE job_id = ? AND bundle = ? ORDER BY at"
DUMMY = PasswordHash(bytes(16), bytes(32))  # nobody's: an unknown name takes as long as a known


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    role: Role
    made_at: float


@dataclass(frozen=True, slots=True)
class Invitation:
    role: Role
    secret: bytes
    by: str


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """A login that failed; `known` is the account's name where there is one."""

    known: str | None
    locked: bool


class Accounts:
    """One connection; commands and the console may both write."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        self._connection = connection
        self._now = now
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> "Accounts":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)  # SQLite's companions take the file's own mode
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        return cls(connection, now)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

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
            return Account(str(held[0]), Role(held[1]), float(held[6]))
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
        return [Account(name, Role(role), made) for name, role, made in self._read(ACCOUNTS)]

    def account(self, name: str) -> Account | None:
        held = self._row(name)
        return None if held is None else Account(str(held[0]), Role(held[1]), float(held[6]))

    def remove(self, name: str) -> bool:
        """Remove an account, and what it has consented to and nobody has decided yet."""
        with self._transaction() as write:
            write.execute(TAKE_BACK, (name,))
            return write.execute(REMOVE, (name,)).rowcount == 1

    def has_steward(self) -> bool:
        return int(self._read(STEWARDS)[0][0]) > 0

    def invite(self, role: Role, by: str, seconds: float = INVITATION_SECONDS) -> str:
        """Return the token of a link that makes one account."""
        token = secrets.token_urlsafe(32)
        self._write(FORGET_INVITATIONS, (self._now(),))
        row = (_digest(token), role, new_secret(), by, self._now() + seconds)
        self._write(INVITE, row)
        return token

    def invitation(self, token: str) -> Invitation | None:
        found = self._read(INVITATION, (_digest(token), self._now()))
        return Invitation(Role(found[0][0]), found[0][1], found[0][2]) if found else None

    def accept(self, token: str, name: str, password: str, code: str) -> Account | str:
        """Make the account a link invites to, or say why not; the link is then worth nothing."""
        invitation = self.invitation(token)
        if invitation is None:
            return "This link was used or is too old: ask for another."
        step = step_of(invitation.secret, code, self._now(), 0)
        if step is None:
            return "The code is wrong: check that the phone's clock is right."
        fresh = PasswordHash.of(password)
        now = self._now()
        with self._transaction() as write:
            if write.execute(ACCOUNT, (name,)).fetchone() is not None:
                return "Somebody has this name already: choose another."
            if write.execute(USE_INVITATION, (_digest(token), now)).rowcount != 1:
                return "This link was used or is too old: ask for another."
            row = (name, invitation.role, fresh.salt, fresh.digest, invitation.secret, step, now)
            write.execute(ADD, row)
        return Account(name, invitation.role, now)

    # Two who agree

    def consent(self, job_id: str, bundle: str, name: str) -> None:
        self._write(CONSENT, (job_id, bundle, name, self._now()))

    def consents(self, job_id: str, bundle: str) -> list[str]:
        return [str(name) for (name,) in self._read(CONSENTS, (job_id, bundle))]

    def _row(self, name: str) -> tuple[Any, ...] | None:
        return next(iter(self._read(ACCOUNT, (name,))), None)

    def _read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, values: tuple[object, ...]) -> int:
        with self._transaction() as write:
            return write.execute(sql, values).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()
