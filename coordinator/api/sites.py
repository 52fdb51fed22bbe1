"""SiteService: the operators' view of the fleet."""

from collections.abc import Callable
from datetime import UTC, datetime

from coordinator.errors import Refused
from coordinator.federation.fleet import Fleet
from coordinator.federation.notary import Notary
from coordinator.model import Caller, Standing
from coordinator.model import Site as KnownSite
from coordinator.store.checkpoints import ChainFault
from protos.v1.federation_pb2 import (
    InviteSiteRequest,
    InviteSiteResponse,
    ListSitesRequest,
    ListSitesResponse,
    RestoreSiteRequest,
    RestoreSiteResponse,
    RevokeSiteRequest,
    RevokeSiteResponse,
    Site,
    SuspendSiteRequest,
    SuspendSiteResponse,
)


class SiteServicer:
    def __init__(
        self,
        fleet: Fleet,
        invitation_hours: int,
        cut: Callable[[str, Exception], None],
        notary: Notary,
    ) -> None:
        self._fleet = fleet
        self._notary = notary
        self._cut = cut
        self._invitation_hours = invitation_hours

    async def invite_site(self, caller: Caller, request: InviteSiteRequest) -> InviteSiteResponse:
        token, expires_at = await self._fleet.invite(
            request.site_name,
            min(request.valid_hours or self._invitation_hours, 24 * 30),
            by=caller.identity.uri,
        )
        response = InviteSiteResponse(token=token)
        response.expires_at.FromNanoseconds(int(expires_at * 1e9))
        return response

    async def suspend_site(
        self, caller: Caller, request: SuspendSiteRequest
    ) -> SuspendSiteResponse:
        await self._shut_out(request.site_name, Standing.SUSPENDED, caller)
        return SuspendSiteResponse()

    async def restore_site(
        self, caller: Caller, request: RestoreSiteRequest
    ) -> RestoreSiteResponse:
        name, by = request.site_name, caller.identity.uri
        await self._fleet.restore(name, by)
        return RestoreSiteResponse()

    async def revoke_site(self, caller: Caller, request: RevokeSiteRequest) -> RevokeSiteResponse:
        await self._shut_out(request.site_name, Standing.REVOKED, caller)
        return RevokeSiteResponse()

    async def _shut_out(self, name: str, standing: Standing, caller: Caller) -> None:
        await self._fleet.change_standing(name, standing, caller.identity.uri)
        self._cut(name, Refused(f"{name} is {standing}: ask the operator"))

    async def list_sites(self, caller: Caller, request: ListSitesRequest) -> ListSitesResponse:
        del caller, request  # every operator sees the whole fleet
        faults, newest = await self._notary.known()
        listed = ListSitesResponse()
        for site, here in await self._fleet.sites():
            shown = _shown(site, connected=here)
            if (condition := self._fleet.condition(site.name)) is not None:
                shown.condition.CopyFrom(condition)
            house = f"gateway/{site.name}"
            if house in newest:
                shown.checkpoint.CopyFrom(newest[house])
            if house in faults:
                shown.chain_fault = _fault(faults[house])
            listed.sites.append(shown)
        return listed


def _fault(found: ChainFault) -> str:
    day = datetime.fromtimestamp(found.at, UTC).isoformat(timespec="seconds")
    return f"{found.whose}: {found.finding} at checkpoint {found.number}, {day}"


def _shown(site: KnownSite, *, connected: bool) -> Site:
    shown = Site(
        name=site.name,
        standing=site.standing,
        connected=connected,
        software_version=site.software_version,
        clock_skew_seconds=site.clock_skew_seconds,
    )
    if site.last_seen_at is not None:
        shown.last_seen_at.FromNanoseconds(int(site.last_seen_at * 1e9))
    if site.certificate_expires_at is not None:
        shown.certificate_expires_at.FromNanoseconds(int(site.certificate_expires_at * 1e9))
    return shown
