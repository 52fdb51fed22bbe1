"""A test's report, or a model's card: made of what is stored, and signed."""

import asyncio
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from coordinator.errors import WrongMoment
from coordinator.evaluation.document import Evidence as TestEvidence
from coordinator.evaluation.document import Report, SumEvidence
from coordinator.evaluation.evidence import gather
from coordinator.evaluation.report import build
from coordinator.jobs.desk import JobDesk
from coordinator.model import OVER, JobRecord
from coordinator.store.objects import Objects
from coordinator.store.rounds import Rounds
from coordinator.training.card_making import Evidence, make_card
from coordinator.training.sum_driver import Opened, SumDriver
from protos.bundle import manifest_of
from protos.job_manifest import JobManifest, Kind
from protos.reports import card_statement, report_statement

FIRST_WITH_A_MODEL = 2  # rounds: the second starts from what the first made

KEPT = 8  # with 400 hospitals a report is some 2 MB


class Signing(Protocol):
    """The coordinator's key for reports."""

    @property
    def public(self) -> bytes: ...
    def sign(self, statement: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Made:
    """A report, the bytes that are signed, and the signature."""

    report: Report
    content: bytes
    public_key: bytes
    signature: bytes
    sha256: str  # of the content


class Reports:
    def __init__(
        self,
        federation: str,
        desk: JobDesk,
        rounds: Rounds,
        objects: Objects,
        secure: SumDriver,
        key: Signing,
    ) -> None:
        self._federation = federation
        self._desk = desk
        self._rounds = rounds
        self._objects = objects
        self._secure = secure
        self._key = key
        self._making: OrderedDict[str, tuple[object, asyncio.Task[Made]]] = OrderedDict()

    async def signed(self, record: JobRecord) -> tuple[bytes, bytes, bytes]:
        """Return report or card, public key and signature; WrongMoment where there is none yet."""
        manifest = await self._manifest(record)
        if manifest.kind is Kind.TRAINING:
            return await self._card(record, manifest)
        made = await asyncio.shield(await self.begin(record))
        return made.content, made.public_key, made.signature

    async def begin(self, record: JobRecord) -> "asyncio.Task[Made]":
        """Return the making of a report: done where nothing has changed since it was made."""
        if record.stage not in OVER:
            raise WrongMoment("the job is not over yet: see `radfed job watch`")
        reviews = len((await self._desk.offer(record)).reviews)
        decided = await self._desk.sites(record.job_id)
        # A hospital that was late may still report on a job that is over.
        version = reviews, tuple(decided), await self._rounds.version(record.job_id)
        held = self._making.get(record.job_id)
        if held is None or held[0] != version or _has_failed(held[1]):
            making = asyncio.create_task(self._make(record, reviews))
            held = self._making[record.job_id] = version, making
        self._making.move_to_end(record.job_id)
        while len(self._making) > KEPT:
            self._making.popitem(last=False)
        return held[1]

    async def _make(self, record: JobRecord, reviews: int) -> Made:
        manifest = await self._manifest(record)
        if manifest.protocol is None:
            raise WrongMoment(
                "this job has no protocol, so there is no report: see `radfed job show`"
            )
        decided = await self._desk.sites(record.job_id)
        tasks = await self._rounds.tasks(record.job_id)
        opened = await self._secure.opened(record, 1) if manifest.is_summed else None
        return await asyncio.to_thread(
            lambda: self._sign(
                gather(self._federation, record, manifest, reviews, decided, tasks, _sum_of(opened))
            )
        )

    async def _manifest(self, record: JobRecord) -> JobManifest:
        raw = await asyncio.to_thread(lambda: b"".join(self._objects.chunks(record.bundle_digest)))
        return await asyncio.to_thread(manifest_of, raw)

    async def _card(self, record: JobRecord, manifest: JobManifest) -> tuple[bytes, bytes, bytes]:
        rounds = await self._rounds.all(record.job_id)
        if len(rounds) < FIRST_WITH_A_MODEL:
            raise WrongMoment("no round of this job has ended yet: there is no new model")
        evidence = Evidence(
            self._federation,
            record,
            manifest,
            len((await self._desk.offer(record)).reviews),
            await self._desk.sites(record.job_id),
            rounds,
            await self._rounds.tasks(record.job_id),
            await self._rounds.pooled(record.job_id),
            await self._rounds.transcripts(record.job_id),
        )
        made = await asyncio.to_thread(make_card, evidence, rounds[-1].weights_size)
        card = made.model_dump_json(indent=1).encode()
        return card, self._key.public, self._key.sign(card_statement(card))

    def _sign(self, evidence: TestEvidence) -> Made:
        report = build(evidence)
        content = report.model_dump_json(indent=1).encode()
        signature = self._key.sign(report_statement(content))
        return Made(report, content, self._key.public, signature, sha256(content).hexdigest())


def _sum_of(opened: Opened | None) -> SumEvidence | None:
    if opened is None:
        return None
    return SumEvidence(
        round=opened.number,
        roster=b64encode(opened.roster.SerializeToString(deterministic=True)).decode(),
        transcript=b64encode(opened.transcript.SerializeToString(deterministic=True)).decode(),
        secrets={site: secret.hex() for site, secret in sorted(opened.secrets.items())},
        masked={site: b64encode(raw).decode() for site, raw in sorted(opened.masked.items())},
    )


def _has_failed(making: "asyncio.Task[Made]") -> bool:
    return making.done() and (making.cancelled() or making.exception() is not None)
