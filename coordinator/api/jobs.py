"""JobService: takes vendors' bundles and shows what became of them."""

import asyncio
from collections.abc import AsyncIterator, Callable

from coordinator.api.reports import Reports
from coordinator.errors import WrongMoment
from coordinator.federation.fleet import Fleet
from coordinator.jobs.desk import JobDesk
from coordinator.jobs.transfers import Transfers
from coordinator.model import CHUNK_BYTES, Caller, JobRecord, Pooled, RoundRecord, TaskRecord
from coordinator.store.rounds import Rounds
from coordinator.training.card_making import LATE, SILENT, state_of
from coordinator.training.rules import chosen_round
from protos.training import plan_of
from protos.v1.federation_pb2 import (
    DownloadBundleRequest,
    DownloadBundleResponse,
    DownloadReportRequest,
    DownloadReportResponse,
    DownloadResultRequest,
    DownloadResultResponse,
    GetJobRequest,
    GetJobResponse,
    Job,
    JobRound,
    JobSite,
    ListJobsRequest,
    ListJobsResponse,
    PooledRound,
    ReviewJobRequest,
    ReviewJobResponse,
    StopJobRequest,
    StopJobResponse,
    SubmitJobRequest,
    SubmitJobResponse,
    UploadBundleRequest,
    UploadBundleResponse,
)
from protos.v1.job_pb2 import ScoreHistogram, TaskOutcome

SiteAuc = Callable[[ScoreHistogram], float | None]


class JobServicer:
    def __init__(
        self,
        fleet: Fleet,
        desk: JobDesk,
        transfers: Transfers,
        rounds: Rounds,
        reports: Reports,
        site_auc: SiteAuc,
    ) -> None:
        self._fleet = fleet
        self._desk = desk
        self._transfers = transfers
        self._rounds = rounds
        self._reports = reports
        self._site_auc = site_auc

    async def upload_bundle(
        self, caller: Caller, requests: AsyncIterator[UploadBundleRequest]
    ) -> UploadBundleResponse:
        owner = f"{caller.identity.role}.{caller.identity.name}"
        return UploadBundleResponse(held=await self._transfers.upload(owner, requests))

    async def submit_job(self, caller: Caller, request: SubmitJobRequest) -> SubmitJobResponse:
        sites = self._fleet.chosen(frozenset(request.sites))
        return SubmitJobResponse(job_id=await self._desk.submit(request, sites, caller))

    async def review_job(self, caller: Caller, request: ReviewJobRequest) -> ReviewJobResponse:
        counted, needed = await self._desk.review(request.job_id, request.review, caller)
        return ReviewJobResponse(reviews=counted, needed=needed)

    async def download_bundle(
        self, caller: Caller, request: DownloadBundleRequest
    ) -> AsyncIterator[DownloadBundleResponse]:
        """Stream what a reviewer reads: the very bytes whose digest is signed."""
        record = await self._desk.visible(request.job_id, caller)
        async for chunk in self._transfers.read(record.bundle_digest, request.offset):
            yield DownloadBundleResponse(chunk=chunk)

    async def list_jobs(self, caller: Caller, request: ListJobsRequest) -> ListJobsResponse:
        del request
        return ListJobsResponse(jobs=map(_line, await self._desk.visible_to(caller)))

    async def get_job(self, caller: Caller, request: GetJobRequest) -> GetJobResponse:
        record = await self._desk.visible(request.job_id, caller)
        tasks = await self._rounds.tasks(record.job_id)
        weights = {each.number: each for each in await self._rounds.all(record.job_id)}
        return GetJobResponse(
            job=_line(record),
            sites=[
                JobSite(site=part.site, decision=part.decision, rule=part.rule)  # type: ignore[arg-type]  # the enum's number
                for part in await self._desk.sites(record.job_id)
            ],
            rounds=await asyncio.to_thread(
                lambda: [self._part(task, weights[task.round]) for task in tasks]
            ),
            pooled=[
                _pooled(figure, weights[figure.round])
                for figure in await self._rounds.pooled(record.job_id)
            ],
            reason=record.reason,
            offer=await self._desk.offer(record),
        )

    async def stop_job(self, caller: Caller, request: StopJobRequest) -> StopJobResponse:
        await self._desk.stop(request.job_id, caller)
        return StopJobResponse()

    async def download_result(
        self, caller: Caller, request: DownloadResultRequest
    ) -> AsyncIterator[DownloadResultResponse]:
        """Stream the newest model, or the best where the job says so: what a round started from."""
        record = await self._desk.visible(request.job_id, caller)
        newest = await self._rounds.newest(record.job_id)
        if newest is None or newest.number == 1:
            raise WrongMoment("no round of this job has ended yet: there is no new model")
        chosen = chosen_round(
            plan_of(record.plan), await self._rounds.pooled(record.job_id), newest.number
        )
        each = await self._rounds.all(record.job_id)
        digest = next(its.weights_digest for its in each if its.number == chosen)
        async for chunk in self._transfers.read(digest, request.offset):
            yield DownloadResultResponse(chunk=chunk, digest=digest)

    async def download_report(
        self, caller: Caller, request: DownloadReportRequest
    ) -> AsyncIterator[DownloadReportResponse]:
        """Stream a test's report, its signature last."""
        record = await self._desk.visible(request.job_id, caller)
        report, key, signature = await self._reports.signed(record)
        for start in range(0, len(report), CHUNK_BYTES):
            yield DownloadReportResponse(chunk=report[start : start + CHUNK_BYTES])
        yield DownloadReportResponse(public_key=key, signature=signature)

    def _part(self, task: TaskRecord, its: RoundRecord) -> JobRound:
        outcome = TaskOutcome.FromString(task.outcome)
        ended = state_of(task, its)
        part = JobRound(
            site=task.site,
            round=task.round,
            state=outcome.state,
            code=ended if ended in {LATE, SILENT} else outcome.code,
            weight=outcome.weight,
            leakage_bits=outcome.leakage_bits,
            metrics=outcome.metrics,
        )
        if task.reported_at is not None:
            part.since.FromNanoseconds(int(task.reported_at * 1e9))
        if outcome.HasField("validation"):
            auc = self._site_auc(outcome.validation)
            if auc is not None:
                part.auc = auc
        return part


def _line(record: JobRecord) -> Job:
    line = Job(
        job_id=record.job_id,
        name=record.name,
        kind=record.kind,  # type: ignore[arg-type]  # stored as the enum's number
        stage=record.stage,
        round=min(record.round, record.rounds),  # the final measurement is no round of training
        rounds=record.rounds,
    )
    line.submitted_at.FromNanoseconds(int(record.submitted_at * 1e9))
    return line


def _pooled(figure: Pooled, its: RoundRecord) -> PooledRound:
    shown = PooledRound(round=figure.round, weights_digest=its.weights_digest)
    if figure.auc is not None:
        shown.auc = figure.auc
    if figure.low is not None:
        shown.auc_low = figure.low
    if figure.high is not None:
        shown.auc_high = figure.high
    return shown
