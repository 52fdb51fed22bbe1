"""Which object is handed to which: the coordinator's rooms, furnished."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import ServiceDescriptor

from coordinator.api.jobs import JobServicer
from coordinator.api.projects import ProjectServicer
from coordinator.api.queries import QueryServicer
from coordinator.api.reports import Reports
from coordinator.api.sites import SiteServicer
from coordinator.app.figures import pool_histograms, site_auc
from coordinator.app.report_key import ReportKey
from coordinator.app.signed import installed_manifest
from coordinator.app.tables import Tables
from coordinator.audit import AuditTrail
from coordinator.config import CoordinatorConfig
from coordinator.console.job_board import JobBoard
from coordinator.console.report_board import ReportBoard
from coordinator.federation.desk import ABSENT_GRACE_SECONDS, QuestionDesk
from coordinator.federation.fleet import Authority, Fleet
from coordinator.federation.foresight import Foresight
from coordinator.federation.notary import Notary
from coordinator.jobs.desk import JobDesk, Terms
from coordinator.jobs.dossier import Dossiers
from coordinator.jobs.transfers import Transfers
from coordinator.link.enrolment import EnrolmentServicer
from coordinator.link.service import LinkServicer
from coordinator.link.switchboard import Switchboard
from coordinator.model import Clock
from coordinator.registry.roll import Roll
from coordinator.store.answers import GivenAnswers
from coordinator.store.checkpoints import Checkpoints
from coordinator.store.jobs import Jobs
from coordinator.store.objects import Objects
from coordinator.store.questions import Questions
from coordinator.store.rounds import Rounds
from coordinator.store.sites import Sites
from coordinator.store.sums import SecureSums
from coordinator.training.driver import RoundDriver
from coordinator.training.folding import Folding, Sums
from coordinator.training.handing import Handing
from coordinator.training.progress import Progress
from coordinator.training.sum_driver import SumDriver
from coordinator.training.sums import fold, is_usable
from protos.v1 import enrolment_pb2, federation_pb2, link_pb2


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a running coordinator is made of."""

    audit: AuditTrail
    roll: Roll
    fleet: Fleet
    switchboard: Switchboard
    questions: QuestionDesk
    foresight: Foresight
    jobs: JobDesk
    rounds: Rounds
    driver: RoundDriver
    reports: Reports
    transfers: Transfers
    link: LinkServicer
    notary: Notary
    job_board: JobBoard
    report_board: ReportBoard


async def furnish(
    config: CoordinatorConfig,
    clock: Clock,
    authority: Authority,
    tables: Tables,
    signing: Ed25519PrivateKey,
) -> Rooms:
    """Build every room on open tables."""
    audit, database = tables.audit, tables.database
    term = 0 if tables.lease is None else tables.lease.token
    roll = Roll(config.manifest_file, lambda: installed_manifest(config))
    await asyncio.to_thread(roll.refresh)
    days = config.certificates.gateway_days
    fleet = Fleet(Sites(database), authority, audit, clock, days, lambda: roll.signed)
    await fleet.load()
    board = Switchboard(clock, config.link.heartbeat_seconds)
    objects = await asyncio.to_thread(Objects, config.objects_dir, term)
    jobs, rounds = Jobs(database), Rounds(database)
    questions = QuestionDesk(
        Questions(database), audit, board.deliver, fleet.connected, clock,
        ABSENT_GRACE_SECONDS,
    )  # fmt: skip
    foresight = Foresight(GivenAnswers(database), fleet.connected, clock)
    key = await asyncio.to_thread(ReportKey.load, config.keys)
    secure = SumDriver(jobs, rounds, SecureSums(database), objects, audit, board.deliver, clock)
    driver = RoundDriver(
        jobs, rounds, audit, board.deliver, clock, config.jobs.decision_seconds,
        folding=Folding(objects, Sums(fold, is_usable, pool_histograms)),
        handing=Handing(rounds, key),
        secure=secure,
    )  # fmt: skip
    settings = config.jobs
    terms = Terms(
        settings.bundle_bytes, settings.reviews, settings.terms_days, settings.quorum,
        settings.round_seconds,
    )  # fmt: skip
    desk = JobDesk(jobs, objects, audit, board.deliver, driver.wake, clock, terms, roll)
    notary = Notary(Checkpoints(database), audit, signing, config.federation, clock)
    transfers = Transfers(objects, rounds, config.jobs.object_bytes, driver.update_arrived)
    reports = Reports(config.federation, desk, rounds, objects, secure, key)
    dossiers = Dossiers(objects)
    job_board = JobBoard(desk, rounds, Progress(rounds, site_auc), dossiers, roll)
    link = LinkServicer(
        fleet, board, questions, desk, driver, transfers, roll, clock,
        config.link.heartbeat_seconds, notary,
    )  # fmt: skip
    return Rooms(
        audit,
        roll,
        fleet,
        board,
        questions,
        foresight,
        desk,
        rounds,
        driver,
        reports,
        transfers,
        link,
        notary,
        job_board,
        ReportBoard(job_board, reports, dossiers),
    )


def services(
    config: CoordinatorConfig, rooms: Rooms, clock: Clock
) -> Iterator[tuple[ServiceDescriptor, object]]:
    """Name each service of the treaty with what serves it."""
    named: dict[ModuleType, Mapping[str, object]] = {
        enrolment_pb2: {
            "EnrolmentService": EnrolmentServicer(rooms.fleet, clock, lambda: rooms.roll.version)
        },
        link_pb2: {"LinkService": rooms.link},
        federation_pb2: {
            "SiteService": SiteServicer(
                rooms.fleet,
                config.certificates.invitation_hours,
                rooms.switchboard.cut,
                rooms.notary,
            ),
            "ProjectService": ProjectServicer(rooms.roll),
            "QueryService": QueryServicer(
                rooms.fleet, rooms.questions, rooms.foresight, config.questions.deadline_seconds
            ),
            "JobService": JobServicer(
                rooms.fleet, rooms.jobs, rooms.transfers, rooms.rounds, rooms.reports, site_auc
            ),
        },
    }
    for module, servicers in named.items():
        for name, servicer in servicers.items():
            yield module.DESCRIPTOR.services_by_name[name], servicer
