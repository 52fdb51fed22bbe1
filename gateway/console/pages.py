"""The hospital console: its rooms behind the door that both consoles share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request

from gateway.console import boards, inbox, people, quarantine, studies, today
from gateway.console.house import House
from gateway.console.rules import permits
from gateway.console.vocabulary import NOTICES, SAYINGS
from gateway.errors import ExitCode, GatewayError
from protos.pages import entering
from protos.pages.accounts import Account, Accounts
from protos.pages.sessions import Sessions
from protos.pages.shell import Shell, Terms
from protos.pages.visit import Page
from protos.pages.words import _

STATUS: Mapping[ExitCode, int] = {ExitCode.CONFIGURATION: 404, ExitCode.REFUSED_IDENTITY: 403}
PAGES = (
    Page("/", _("Today")),
    Page("/studies", _("Studies")),
    Page("/quarantine", _("Quarantine")),
    Page("/approvals", _("Approvals")),
    Page("/sent", _("What left")),
    Page("/budget", _("Privacy budget")),
    Page("/policy", _("Policy")),
    Page("/audit", _("Audit")),
    Page("/sources", _("Sources")),
    Page("/people", _("People")),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the console is built from."""

    site: str
    house: House
    accounts: Accounts
    sessions: Sessions
    over_tls: bool = False
    two_person: bool = False
    # Who the client certificate of a connection is, where the settings name it.
    certified: Callable[[Request], Account | None] = lambda _request: None


class Console(Shell):
    """The shared door, told of this house."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        house = setting.house
        super().__init__(
            Terms(
                site=setting.site,
                package="gateway.console",
                pages=PAGES,
                notices=NOTICES,
                sayings=SAYINGS,
                accounts=setting.accounts,
                sessions=setting.sessions,
                record=house.record,
                permits=permits,
                denied=lambda one, act: house.record("console_denied", by=one.name, act=act),
                faults=_expected,
                over_tls=setting.over_tls,
                certified=setting.certified,
            )
        )


def _expected(fault: Exception) -> tuple[int, str] | None:
    if isinstance(fault, GatewayError):
        return STATUS.get(fault.exit_code, 409), str(fault)
    return None


def build(setting: Setting) -> Starlette:
    """Return the console as an ASGI application."""
    console = Console(setting)
    rooms = (today, studies, quarantine, inbox, boards, people)
    routes = [route for room in rooms for route in room.routes(console)]
    return console.build([*entering.routes(console), *routes])
