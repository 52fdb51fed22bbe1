"""A test's report, made of what is stored and signed; made anew when that has changed."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from coordinator.errors import WrongMoment
from coordinator.evaluation.document import Evidence, Report
from coordinator.evaluation.evidence import gather
from coordinator.evaluation.report import build
from coordinator.jobs.desk import JobDesk
from coordinator.model import OVER, JobRecord
from coordinator.store.objects import Objects
from coordinator.store.rounds import Rounds
from protos.bundle import manifest_of
from protos.reports import report_statement

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
        self, federation: str, desk: JobDesk, rounds: Rounds, objects: Objects, key: Signing
    ) -> None:
        self._federation = federation
        self._desk = desk
        self._rounds = rounds
        self._objects = objects
        self._key = key
        self._making: OrderedDict[str, tuple[object, asyncio.Task[Made]]] = OrderedDict()

    async def signed(self, record: JobRecord) -> tuple[bytes, bytes, bytes]:
        """Return report, public key and signature; WrongMoment where there can be none (yet)."""
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
        raw = await asyncio.to_thread(lambda: b"".join(self._objects.chunks(record.bundle_digest)))
        manifest = await asyncio.to_thread(manifest_of, raw)
        if manifest.protocol is None:
            raise WrongMoment(
                "this job has no protocol, so there is no report: see `radfed job show`"
            )
        decided = await self._desk.sites(record.job_id)
        tasks = await self._rounds.tasks(record.job_id)
        return await asyncio.to_thread(
            lambda: self._sign(gather(self._federation, record, manifest, reviews, decided, tasks))
        )

    def _sign(self, evidence: Evidence) -> Made:
        report = build(evidence)
        content = report.model_dump_json(indent=1).encode()
        signature = self._key.sign(report_statement(content))
        return Made(report, content, self._key.public, signature, sha256(content).hexdigest())


def _has_failed(making: "asyncio.Task[Made]") -> bool:
    return making.done() and (making.cancelled() or making.exception() is not None)
