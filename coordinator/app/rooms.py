"""Which object is handed to which: the coordinator's rooms, furnished."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from google.protobuf.descriptor import ServiceDescriptor

from coordinator.api.queries import QueryServicer
from coordinator.api.sites import SiteServicer
from coordinator.audit import AuditTrail
from coordinator.config import CoordinatorConfig
from coordinator.federation.desk import QuestionDesk
from coordinator.federation.fleet import Authority, Fleet
from coordinator.link.enrolment import EnrolmentServicer
from coordinator.link.service import LinkServicer
from coordinator.link.switchboard import Switchboard
from coordinator.model import Clock
from coordinator.store.database import Database
from coordinator.store.questions import Questions
from coordinator.store.sites import Sites
from protos.v1 import enrolment_pb2, federation_pb2, link_pb2


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a running coordinator is made of."""

    fleet: Fleet
    switchboard: Switchboard
    questions: QuestionDesk
    link: LinkServicer


class Idle:
    async def outstanding(self, site):
        return []

    async def take_decision(self, site, d):
        pass

    async def take_outcome(self, site, d):
        pass


async def furnish(
    config: CoordinatorConfig,
    clock: Clock,
    authority: Authority,
    database: Database,
    audit: AuditTrail,
) -> Rooms:
    """Build every room on open tables."""
    fleet = Fleet(Sites(database), authority, audit, clock, config.certificates.gateway_days)
    await fleet.load()
    switchboard = Switchboard(clock, config.link.heartbeat_seconds)
    questions = QuestionDesk(
        Questions(database), audit, switchboard.deliver, fleet.connected, clock,
        config.questions.absent_grace_seconds,
    )  # fmt: skip
    link = LinkServicer(
        fleet, switchboard, questions, Idle(), Idle(), Idle(), clock,
        config.link.heartbeat_seconds,
    )  # fmt: skip
    return Rooms(fleet, switchboard, questions, link)


def services(config: CoordinatorConfig, rooms: Rooms) -> Iterator[tuple[ServiceDescriptor, object]]:
    """Name each service of the treaty with what serves it."""
    named: dict[ModuleType, Mapping[str, object]] = {
        enrolment_pb2: {"EnrolmentService": EnrolmentServicer(rooms.fleet)},
        link_pb2: {"LinkService": rooms.link},
        federation_pb2: {
            "SiteService": SiteServicer(rooms.fleet, config.certificates.invitation_hours),
            "QueryService": QueryServicer(
                rooms.fleet, rooms.questions, config.questions.deadline_seconds
            ),
        },
    }
    for module, servicers in named.items():
        for name, servicer in servicers.items():
            yield module.DESCRIPTOR.services_by_name[name], servicer
