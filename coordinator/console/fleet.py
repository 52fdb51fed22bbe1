"""Fleet: every hospital in one table: is it up, how old, how far behind, is its clock right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from coordinator.model import Standing
from protos.pages.visit import Page, Visit
from protos.pages.words import _
from protos.v1.federation_pb2 import ListSitesRequest, Site

if TYPE_CHECKING:
    from coordinator.console.pages import Console

LIST_SITES = "radfed.v1.SiteService/ListSites"
PAGES = (Page("/fleet", _("Fleet"), LIST_SITES),)
NOTICES: Mapping[str, str] = {}
EVERY_SECONDS = 5.0
CLOCK_SECONDS = 30.0  # what noon is to two hospitals should be the same noon
CERTIFICATE_SECONDS = 7 * 86400.0  # a gateway that has fewer days has failed to renew for long
BACKLOG_DIGITS = 5  # ten thousand instances that nobody can ask about yet
STATES = {"up": _("up"), "down": _("down"), "look": _("needs a look")}
# The map's groups, the one first that somebody has to do something about.
GROUPS = {
    "down": _("Down"),
    "look": _("Needs a look"),
    "up": _("Up and well"),
    "apart": _("Invited, suspended or revoked"),
}


@dataclass(frozen=True, slots=True)
class Hospital:
    """One row."""

    name: str
    standing: str
    connected: bool
    seen_at: float | None
    version: str
    backlog: str
    clock: float | None
    certificate_until: float | None
    wrong: tuple[str, ...]  # which of its facts somebody should look at
    chain_fault: str
    accepting: bool

    @property
    def is_expected(self) -> bool:
        return self.standing == Standing.ACTIVE

    @property
    def group(self) -> str:
        """Return which group of the map it stands in."""
        if not self.is_expected:
            return "apart"
        if not self.connected:
            return "down"
        return "look" if self.wrong else "up"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address bar asks for; empty: anything."""

    name: str = ""
    standing: str = ""
    state: str = ""
    version: str = ""

    def fits(self, one: Hospital) -> bool:
        state = {
            "up": one.connected,
            "down": one.is_expected and not one.connected,
            "look": bool(one.wrong),
        }.get(self.state, True)
        return (
            state
            and self.name.casefold() in one.name
            and self.standing in ("", one.standing)
            and self.version in ("", one.version)
        )


def routes(console: "Console") -> list[Route]:
    room = Fleet(console)
    live = console.live(room.part, EVERY_SECONDS, LIST_SITES)
    return [
        Route("/fleet", console.room(room.show, needs=LIST_SITES)),
        Route("/fleet/live", live),
    ]


class Fleet:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._house = console.house

    async def show(self, visit: Visit) -> Response:
        wanted = Wanted(
            **{name: visit.asked(name, 64).strip() for name in Wanted.__dataclass_fields__}
        )
        hospitals = await self._hospitals(visit)
        return await self._console.draw(
            visit,
            "fleet.html",
            found=[one for one in hospitals if wanted.fits(one)],
            groups=_groups(hospitals),
            wanted=wanted,
            states=STATES,
            standings=list(Standing),
            **self._now(hospitals),
        )

    async def part(self, visit: Visit) -> tuple[str, bool]:
        facts = self._now(await self._hospitals(visit))
        part = self._console.templates.part
        return await run_in_threadpool(part, visit, "fleet_now.html", **facts), False

    async def _hospitals(self, visit: Visit) -> list[Hospital]:
        request = ListSitesRequest()
        listed = await self._house.call(self._console.caller(visit), LIST_SITES, request)
        now = self._house.now()
        return [hospital(site, now) for site in listed.sites]

    def _now(self, hospitals: Sequence[Hospital]) -> dict[str, Any]:
        """Return the figures over the whole fleet."""
        active = [one for one in hospitals if one.is_expected]
        wrong = Counter(what for one in hospitals for what in one.wrong)
        return {
            "total": len(hospitals),
            "active": len(active),
            "up": sum(one.connected for one in active),
            "wrong": wrong,
            "versions": Counter(one.version for one in active if one.version).most_common(5),
            "at": self._house.now(),
        }


def _groups(hospitals: Sequence[Hospital]) -> list[tuple[str, str, list[str]]]:
    """Return each group of the map that has somebody in it: its key, its title, its hospitals."""
    members: dict[str, list[str]] = {key: [] for key in GROUPS}
    for one in hospitals:
        members[one.group].append(one.name)
    return [(key, title, members[key]) for key, title in GROUPS.items() if members[key]]


def hospital(site: Site, now: float) -> Hospital:
    """Return a row, with what of it somebody should look at."""
    told = site.HasField("condition")
    until = _seconds(site.certificate_expires_at)
    seen = _seconds(site.last_seen_at)
    active = site.standing == Standing.ACTIVE
    wrong = {
        "up": active and not site.connected,
        "clock": site.connected and abs(site.clock_skew_seconds) > CLOCK_SECONDS,
        "certificate": active and until is not None and until - now < CERTIFICATE_SECONDS,
        "backlog": told and site.condition.backlog_digits >= BACKLOG_DIGITS,
        "disk": told and not site.condition.accepting,
        "chain": bool(site.chain_fault),
    }
    return Hospital(
        name=site.name,
        standing=site.standing,
        connected=site.connected,
        seen_at=seen,
        version=site.software_version,
        backlog=backlog(site.condition.backlog_digits) if told else "–",
        clock=round(site.clock_skew_seconds, 1) + 0.0 if seen is not None else None,  # no -0
        certificate_until=until,
        wrong=tuple(name for name, is_so in wrong.items() if is_so),
        chain_fault=site.chain_fault,
        accepting=not told or site.condition.accepting,
    )


def backlog(digits: int) -> str:
    """Return what a number of so many digits lies between: a hospital tells no more of it."""
    return "<10,000" if digits == 0 else f"{10 ** (digits - 1):,}–{10**digits - 1:,}"


def _seconds(stamp: Timestamp) -> float | None:
    return stamp.ToNanoseconds() / 1e9 if stamp.ByteSize() else None  # an absent one reads as 1970
