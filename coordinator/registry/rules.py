"""The standing of a hospital, the permission table, and who may pass: all of it in tables."""

from collections.abc import Mapping
from types import MappingProxyType

from coordinator.errors import InvalidRequest, Refused, Unauthenticated, WrongMoment
from coordinator.model import Caller, Standing
from protos.identity import NAME, Role

NEXT: Mapping[Standing, frozenset[Standing]] = MappingProxyType(
    {
        Standing.INVITED: frozenset({Standing.ACTIVE, Standing.REVOKED}),
        # A hospital that lost its keys enrols again under a new invitation.
        Standing.ACTIVE: frozenset({Standing.ACTIVE, Standing.SUSPENDED, Standing.REVOKED}),
        Standing.SUSPENDED: frozenset({Standing.ACTIVE, Standing.REVOKED}),
        Standing.REVOKED: frozenset(),
    }
)

_GATEWAY = frozenset({Role.GATEWAY})
_OPERATOR = frozenset({Role.OPERATOR})
_ASKERS = frozenset({Role.OPERATOR, Role.REQUESTER})
_SEE_JOBS = frozenset({Role.OPERATOR, Role.VENDOR, Role.REVIEWER, Role.AUDITOR})
_WORKERS = frozenset({Role.OPERATOR, Role.VENDOR})

# What people do at the console's pages that no method of the treaty does.
READ_TRAIL = "radfed.console/ReadTrail"
SEE_PEOPLE = "radfed.console/SeePeople"
CHANGE_PEOPLE = "radfed.console/ChangePeople"

# Every method there is. What is not in the table is refused to everybody.
MAY_CALL: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "radfed.v1.EnrolmentService/Enrol": frozenset({Role.INVITATION}),
        "radfed.v1.EnrolmentService/Renew": _GATEWAY | {Role.RENEWAL},
        "radfed.v1.EnrolmentService/Preflight": _GATEWAY | {Role.RENEWAL, Role.INVITATION},
        "radfed.v1.LinkService/Connect": _GATEWAY,
        "radfed.v1.LinkService/Fetch": _GATEWAY,
        "radfed.v1.LinkService/Push": _GATEWAY,
        "radfed.v1.LinkService/Held": _GATEWAY,
        "radfed.v1.SiteService/InviteSite": _OPERATOR,
        "radfed.v1.SiteService/SuspendSite": _OPERATOR,
        "radfed.v1.SiteService/RestoreSite": _OPERATOR,
        "radfed.v1.SiteService/RevokeSite": _OPERATOR,
        "radfed.v1.SiteService/ListSites": _OPERATOR | {Role.AUDITOR},
        "radfed.v1.ProjectService/ListProjects": _SEE_JOBS | {Role.REQUESTER},
        "radfed.v1.QueryService/AskQuestion": _ASKERS,
        "radfed.v1.QueryService/ExplainQuestion": _ASKERS,
        "radfed.v1.QueryService/ListQuestions": _ASKERS | {Role.AUDITOR},
        "radfed.v1.JobService/UploadBundle": _WORKERS,
        "radfed.v1.JobService/SubmitJob": _WORKERS,
        "radfed.v1.JobService/ReviewJob": frozenset({Role.REVIEWER}),
        "radfed.v1.JobService/DownloadBundle": frozenset({Role.OPERATOR, Role.REVIEWER}),
        "radfed.v1.JobService/ListJobs": _SEE_JOBS,
        "radfed.v1.JobService/GetJob": _SEE_JOBS,
        "radfed.v1.JobService/StopJob": _WORKERS,
        "radfed.v1.JobService/DownloadResult": _WORKERS,
        "radfed.v1.JobService/DownloadReport": _SEE_JOBS,
        READ_TRAIL: _OPERATOR | {Role.AUDITOR},
        SEE_PEOPLE: _OPERATOR | {Role.AUDITOR},
        CHANGE_PEOPLE: _OPERATOR,
    }
)

PEOPLE = frozenset({Role.OPERATOR, Role.VENDOR, Role.REVIEWER, Role.REQUESTER, Role.AUDITOR})
# Who sees their own organisation's work alone must have one.
ORGANISED = frozenset({Role.VENDOR, Role.REQUESTER})


def invited_person(role: str, name: str, organisation: str) -> Role:
    """Return the role of somebody who can be named so; a sentence where nobody can."""
    if role not in PEOPLE:
        raise InvalidRequest(f"a role is one of {', '.join(sorted(PEOPLE))}")
    for word in (name, organisation or name):
        if not NAME.fullmatch(word):
            raise InvalidRequest("a name is 1-63 lower-case letters, digits and inner hyphens")
    if role in ORGANISED and not organisation:
        raise InvalidRequest(f"a {role} belongs to an organisation: name it")
    return Role(role)


def moved(here: Standing, there: Standing) -> Standing:
    """Return the new standing; WrongMoment where the table has no such move."""
    if there not in NEXT[here]:
        raise WrongMoment(f"a site cannot go from {here} to {there}")
    return there


def check_caller(caller: Caller, federation: str, now: float) -> None:
    """Refuse a certificate of another federation, or one that has run out.

    gRPC looks at the end of a certificate once, at the handshake; a stream may outlive it.
    """
    if caller.identity.federation != federation:
        raise Unauthenticated(f"this coordinator serves the federation {federation} alone")
    if caller.not_after <= now:
        raise Unauthenticated("the certificate has run out: enrol again or ask for a new one")


def check_permission(role: Role, method: str) -> None:
    if role not in MAY_CALL.get(method, frozenset()):
        raise Refused(f"a certificate of the role {role} may not call {method.rpartition('/')[2]}")
