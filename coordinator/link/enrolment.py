"""EnrolmentService: an invitation becomes a gateway's own certificate."""

from coordinator.federation.fleet import Fleet
from coordinator.model import Caller
from protos.v1.enrolment_pb2 import EnrolRequest, EnrolResponse


class EnrolmentServicer:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def enrol(self, caller: Caller, request: EnrolRequest) -> EnrolResponse:
        chain, roots = await self._fleet.enrol(caller, request.csr_der, request.software_version)
        return EnrolResponse(
            site_name=caller.identity.name,
            certificate_chain_pem=chain,
            root_certificates_pem=roots,
            manifest=self._fleet.manifest(),
        )
