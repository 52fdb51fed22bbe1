"""Who a person at the pages is to the federation: the same caller as their certificate names."""

from math import inf

from coordinator.errors import (
    CoordinatorError,
    InvalidRequest,
    NotFound,
    Refused,
    TooLarge,
    WrongMoment,
)
from coordinator.model import Caller
from coordinator.registry.rules import MAY_CALL
from protos.identity import Identity, Role
from protos.pages.accounts import Account

PEOPLE = (Role.OPERATOR, Role.REVIEWER, Role.VENDOR, Role.REQUESTER, Role.AUDITOR)
STATUS: tuple[tuple[type[CoordinatorError], int], ...] = (
    (Refused, 403),
    (NotFound, 404),
    (InvalidRequest, 400),
    (TooLarge, 413),
    (WrongMoment, 409),
    (CoordinatorError, 503),
)


def caller_of(account: Account, federation: str) -> Caller:
    """Return who acts: an account stands for the certificate of the same name and role."""
    return Caller(
        Identity(federation, Role(account.role), account.name),
        serial="",
        not_after=inf if account.until is None else account.until,
        organisation=account.organisation,
    )


def account_of(caller: Caller) -> Account | None:
    """Return the account that a person's certificate stands for; gateways have none."""
    if caller.identity.role not in PEOPLE:
        return None
    name, role = caller.identity.name, caller.identity.role
    return Account(name, role, 0.0, caller.organisation, caller.not_after)


def permits(account: Account, act: str) -> bool:
    """Look into the one permission table; an act that is not in it is nobody's."""
    return account.role in MAY_CALL.get(act, frozenset())


def expected(fault: Exception) -> tuple[int, str] | None:
    """Return the status and the sentence of an error that is no fault of this program."""
    return next(((status, str(fault)) for kind, status in STATUS if isinstance(fault, kind)), None)
