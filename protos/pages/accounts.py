"""Who may use a console: one SQLite file of its house's account alone."""

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

from protos.pages.proofs import PasswordHash, new_secret, step_of
from protos.pages.rules import (
    FAILURES_OF_ACCOUNT,
    FAILURES_OF_ADDRESS,
    INVITATION_SECONDS,
    LOCK_SECONDS,
    is_locked,
)
from protos.pages.words import _

SCHEMA = """
    CREATE TABLE IF NOT EXISTS account (
        name      TEXT PRIMARY KEY COLLATE NOCASE,
        role      TEXT NOT NULL,
        salt      BLOB NOT NULL,
        digest    BLOB NOT NULL,  -- scrypt
        secret    BLOB NOT NULL,  -- TOTP
        last_step INTEGER NOT NULL,  -- a code counts once
        made_at   REAL NOT NULL,
        organisation TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE IF NOT EXISTS invitation (
        token   BLOB PRIMARY KEY,  -- SHA-256: the link itself is nowhere
        role    TEXT NOT NULL,
        secret  BLOB NOT NULL,
        by      TEXT NOT NULL,
        expires REAL NOT NULL,
        name    TEXT NOT NULL DEFAULT '',  -- whom it is for, where the house says so
        organisation TEXT NOT NULL DEFAULT ''
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
LATER = (  # columns that files of earlier versions lack
    ("account", "organisation"), ("invitation", "name"), ("invitation", "organisation"),
)  # fmt: skip
COLUMNS = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
ACCOUNT = """
    SELECT name, role, salt, digest, secret, last_step, made_at, organisation
      FROM account WHERE name = ?
"""
ACCOUNTS = "SELECT name, role, made_at, organisation FROM account ORDER BY name"
ADD = """
    INSERT INTO account (name, role, salt, digest, secret, last_step, made_at, organisation)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
USE_STEP = "UPDATE account SET last_step = ? WHERE name = ? AND last_step < ?"
REMOVE = "DELETE FROM account WHERE name = ?"
OF_ROLE = "SELECT count(*) FROM account WHERE role = ?"
INVITE = """
    INSERT INTO invitation (token, role, secret, by, expires, name, organisation)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
INVITATION = """
    SELECT role, secret, by, name, organisation FROM invitation WHERE token = ? AND expires > ?
"""
USE_INVITATION = "DELETE FROM invitation WHERE token = ? AND expires > ?"
FORGET_INVITATIONS = "DELETE FROM invitation WHERE expires <= ?"
FAIL = "INSERT INTO failure VALUES (?, ?)"
FAILURES = "SELECT at FROM failure WHERE who = ? AND at > ?"
FORGET_FAILURES = "DELETE FROM failure WHERE at <= ? OR who = ?"
CONSENT = "INSERT INTO consent VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
TAKE_BACK = "DELETE FROM consent WHERE name = ?"
CONSENTS = "SELECT name FROM consent WHERE job_id = ? AND bundle = ? ORDER BY at"
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


class Accounts:
    """One connection; commands and the console may both write."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        self._connection = connection
        self._now = now
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> "Accounts":
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():  # to open and close one in use would drop its locks (POSIX fcntl)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)  # SQLite's companions take the file's own mode
        connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        for table, column in LATER:
            if connection.execute(COLUMNS, (table, column)).fetchone() is None:
                connection.execute(
                    f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"
                )
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
        with self._transaction() as write:
            write.execute(TAKE_BACK, (name,))
            return write.execute(REMOVE, (name,)).rowcount == 1

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
        with self._transaction() as write:
            if write.execute(ACCOUNT, (name,)).fetchone() is not None:
                return _("Somebody has this name already: choose another.")
            if write.execute(USE_INVITATION, (_digest(token), now)).rowcount != 1:
                return USED
            proofs = (fresh.salt, fresh.digest, invitation.secret, step)
            write.execute(ADD, (name, invitation.role, *proofs, now, invitation.organisation))
        return Account(name, invitation.role, now, invitation.organisation)

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


def _account(held: tuple[Any, ...]) -> Account:
    return Account(str(held[0]), str(held[1]), float(held[6]), str(held[7]))
