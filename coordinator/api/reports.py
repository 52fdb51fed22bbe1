"""A test's report, or a model's card: made of what is stored each time it is asked for, signed."""

import asyncio
from typing import Protocol

from coordinator.errors import WrongMoment
from coordinator.evaluation.evidence import gather
from coordinator.evaluation.report import build
from coordinator.jobs.desk import JobDesk
from coordinator.model import OVER, JobRecord
from coordinator.store.objects import Objects
from coordinator.store.rounds import Rounds
from coordinator.training.card_making import Evidence, make_card
from protos.bundle import JobManifest, Kind, manifest_of
from protos.reports import card_statement, report_statement

FIRST_WITH_A_MODEL = 2  # rounds: the second starts from what the first made


class Signing(Protocol):
    """The coordinator's key for reports."""

    @property
    def public(self) -> bytes: ...
    def sign(self, statement: bytes) -> bytes: ...


class Reports:
    def __init__(
        self, federation: str, desk: JobDesk, rounds: Rounds, objects: Objects, key: Signing
    ) -> None:
        self._federation = federation
        self._desk = desk
        self._rounds = rounds
        self._objects = objects
        self._key = key

    async def signed(self, record: JobRecord) -> tuple[bytes, bytes, bytes]:
        """Return report, public key and signature; WrongMoment where there can be none (yet)."""
        raw = await asyncio.to_thread(lambda: b"".join(self._objects.chunks(record.bundle_digest)))
        manifest = await asyncio.to_thread(manifest_of, raw)
        if manifest.kind is Kind.TRAINING:
            return await self._card(record, manifest)
        if manifest.protocol is None:
            raise WrongMoment(
                "this job has no protocol, so there is no report: see `radfed job show`"
            )
        if record.stage not in OVER:
            raise WrongMoment("the job is not over yet: see `radfed job watch`")
        evidence = gather(
            self._federation,
            record,
            manifest,
            len((await self._desk.offer(record)).reviews),
            await self._desk.sites(record.job_id),
            await self._rounds.tasks(record.job_id),
        )
        report = await asyncio.to_thread(lambda: build(evidence).model_dump_json(indent=1))
        content = report.encode()
        return content, self._key.public, self._key.sign(report_statement(content))

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
