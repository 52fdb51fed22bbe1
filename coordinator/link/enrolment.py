"""EnrolmentService: an invitation becomes a gateway's certificate, and that one the next."""

from collections.abc import Callable

from coordinator.federation.fleet import Fleet
from coordinator.model import Caller, Clock
from protos.v1.enrolment_pb2 import (
    EnrolRequest,
    EnrolResponse,
    PreflightRequest,
    PreflightResponse,
    RenewRequest,
    RenewResponse,
)


class EnrolmentServicer:
    def __init__(self, fleet: Fleet, clock: Clock, manifest_version: Callable[[], int]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._manifest_version = manifest_version

    async def enrol(self, caller: Caller, request: EnrolRequest) -> EnrolResponse:
        chain, roots, renewal = await self._fleet.enrol(
            caller, request.csr_der, request.software_version
        )
        return EnrolResponse(
            site_name=caller.identity.name,
            certificate_chain_pem=chain,
            root_certificates_pem=roots,
            manifest=self._fleet.manifest(),
            renewal_chain_pem=renewal,
        )

    async def renew(self, caller: Caller, request: RenewRequest) -> RenewResponse:
        chain, renewal = await self._fleet.renew(caller, request.csr_der, request.software_version)
        return RenewResponse(certificate_chain_pem=chain, renewal_chain_pem=renewal)

    async def preflight(self, caller: Caller, request: PreflightRequest) -> PreflightResponse:
        del request  # it says nothing
        standing, used = await self._fleet.stands(caller)
        response = PreflightResponse(
            standing=standing, invitation_used=used, manifest_version=self._manifest_version()
        )
        response.clock.FromNanoseconds(int(self._clock() * 1e9))
        return response
