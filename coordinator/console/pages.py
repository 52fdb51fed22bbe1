"""The federation's console: its rooms behind the door that both consoles share.

A group of pages is a module: its `PAGES` are its entries in the navigation, its `NOTICES` what a
page may say was done, its `routes` what answers. Its templates lie in `templates`, its texts in a
pair of catalogues of its own in `locale`; it is one more name in `ROOMS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from coordinator.console import (
    ask,
    asked,
    audit,
    fleet,
    jobs,
    people,
    projects,
    reports,
)
from coordinator.console.fault_words import fault_in_words
from coordinator.console.house import House
from coordinator.console.job_board import JobBoard
from coordinator.console.report_board import ReportBoard
from coordinator.console.rules import caller_of, expected, permits
from coordinator.console.vocabulary import SAYINGS
from coordinator.model import Caller
from protos.pages import entering
from protos.pages.accounts import Account, Accounts
from protos.pages.sessions import Sessions
from protos.pages.shell import Shell, Terms
from protos.pages.visit import Page, Visit, see_other

OWN = Path(__file__).parent / "static"
LOCAL = ("127.0.0.1", "localhost", "[::1]")


class Room(Protocol):
    """What a module of pages has."""

    @property
    def PAGES(self) -> Sequence[Page]: ...  # noqa: N802 - a module's constant

    @property
    def NOTICES(self) -> Mapping[str, str]: ...  # noqa: N802 - as PAGES

    @property
    def routes(self) -> "Callable[[Console], Sequence[BaseRoute]]": ...


ROOMS: Sequence[Room] = (fleet, ask, asked, jobs, reports, projects, people, audit)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the console is built from."""

    federation: str
    house: House
    accounts: Accounts
    sessions: Sessions
    jobs: JobBoard
    reports: ReportBoard
    record: Callable[..., None]  # onto the trail, from a thread
    over_tls: bool = False
    certified: Callable[[Request], Account | None] = lambda _request: None


class Console(Shell):
    """The shared door, told of this house."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.house = setting.house
        super().__init__(
            Terms(
                site=setting.federation,
                package="coordinator.console",
                pages=[page for room in ROOMS for page in room.PAGES],
                notices={key: says for room in ROOMS for key, says in room.NOTICES.items()},
                sayings=SAYINGS,
                accounts=setting.accounts,
                sessions=setting.sessions,
                record=setting.record,
                permits=permits,
                denied=self._denied,
                faults=expected,
                refusals=fault_in_words,
                named=lambda account: self._caller(account).identity.uri,
                over_tls=setting.over_tls,
                certified=setting.certified,
                hosts=() if setting.over_tls else LOCAL,
                scripts=sorted(file.name for file in OWN.glob("*.js")),
            )
        )

    def caller(self, visit: Visit) -> Caller:
        """Return who is in, as the rooms know callers."""
        return self._caller(visit.account)

    def _caller(self, account: Account) -> Caller:
        return caller_of(account, self.setting.federation)

    def _denied(self, account: Account, act: str) -> None:
        caller = self._caller(account).identity.uri
        reason = f"an account of the role {account.role} may not do this"
        self.setting.record("call_refused", method=act, caller=caller, reason=reason)

    def home(self, visit: Visit) -> Response:
        """Lead to the first page that somebody may see."""
        query = f"?{visit.request.url.query}" if visit.request.url.query else ""
        paths = [page.path for page in self.terms.pages if visit.may(page.needs)]
        return see_other(f"{paths[0]}{query}")


def build(setting: Setting) -> Starlette:
    """Return the console as an ASGI application."""
    console = Console(setting)
    Thread(target=console.templates.warm, name="templates", daemon=True).start()
    routes = [route for room in ROOMS for route in room.routes(console)]
    home = Route("/", console.room(console.home))
    return console.build([home, *entering.routes(console), *routes], OWN)
