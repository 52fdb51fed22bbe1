"""Drives secure sums: each step is stored before the next, so that a killed coordinator resumes.

As the round's own driver, it keeps nothing it could not read again.
"""

import asyncio
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from coordinator.audit import AuditTrail
from coordinator.model import Clock, Deliver, JobRecord, RoundRecord, TaskRecord
from coordinator.store.jobs import Jobs
from coordinator.store.objects import Objects
from coordinator.store.rounds import ENDED, Rounds
from coordinator.store.sums import SecureSums, SumRound
from coordinator.training.outcomes import brings_update, malformed
from coordinator.training.secure_sum import (
    Circle,
    Patience,
    Said,
    Steps,
    SumBroken,
    agreed,
    chosen,
    due,
    inbox,
    is_step,
    roster_of,
    transcript_of,
)
from coordinator.training.unmasking import Layout, unmask
from coordinator.training.vouching import is_vouched_for
from protos import job_manifest
from protos.job_manifest import JobManifest
from protos.sums import SumContext, threshold, weights_of, width_of
from protos.v1.job_pb2 import ScoreHistogram, TaskOutcome
from protos.v1.sum_pb2 import SumCall, SumReport, SumRoster, SumSurvivors, SumTranscript

LATE, FULL = "sum_late", "sum_full"
UNFINISHED = "sum_unfinished"
OVER_WITH_IT = frozenset({"refusal", "unmasking"})


@dataclass(frozen=True, slots=True)
class SummedUp:
    """What a round's secure sum gave: the mean update in a file, and the counts of all."""

    mean: Path | None  # None where the model stays: the round only measured, or its sum broke
    weight: float
    histogram: ScoreHistogram | None


@dataclass(frozen=True, slots=True)
class Opened:
    """All that one round's sum was made of, so that whoever asks can make it again."""

    number: int
    roster: SumRoster
    transcript: SumTranscript
    secrets: Mapping[str, bytes]  # of who dealt: the seed of who is in the sum, else the mask key
    masked: Mapping[str, bytes]  # the masked numbers of who is in it


class SumDriver:
    def __init__(
        self,
        jobs: Jobs,
        rounds: Rounds,
        sums: SecureSums,
        objects: Objects,
        audit: AuditTrail,
        deliver: Deliver,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._rounds = rounds
        self._sums = sums
        self._objects = objects
        self._audit = audit
        self._deliver = deliver
        self._clock = clock
        self._manifest = lru_cache(maxsize=64)(self._read_manifest)

    async def take(self, site: str, report: SumReport) -> str | None:
        """Store a hospital's step; return the job that has news."""
        task = await self._rounds.task(report.task_id)
        if task is None or task.site != site or not is_step(report, site):
            await self._audit.record("sum_step_refused", site=site, task=report.task_id[:64])
            return None
        if await self._sums.say(report, self._clock()):
            step = report.WhichOneof("step")
            facts = {"rule": report.refusal} if step == "refusal" else {}
            await self._audit.record("sum_step", site=site, task=task.task_id, step=step, **facts)
        return task.job_id

    async def under_way(self) -> list[str]:
        return await self._sums.under_way()

    async def is_summed(self, record: RoundRecord) -> bool:
        """Say whether a round's updates and counts come under masks."""
        job = await self._jobs.get(record.job_id)
        if job is None:
            return False
        manifest = await self._manifest_of(job)
        measures = manifest.kind is not job_manifest.Kind.ANALYTICS
        return manifest.is_summed and (measures or not record.evaluate_only)

    async def outstanding(self, site: str) -> list[SumCall]:
        """Return the step a site is to take next in each sum it has entered."""
        calls = []
        for job_id, number in await self._sums.rounds_of(site):
            job, fixed = await self._jobs.get(job_id), await self._sums.find(job_id, number)
            record = next((r for r in await self._rounds.all(job_id) if r.number == number), None)
            if job is None or fixed is None or record is None:
                continue
            calls += [c for s, c in await self._calls(job, record, fixed) if s == site]
        return calls

    async def prepare(self, job: JobRecord, record: RoundRecord) -> None:
        """In an open round, fix roster and dealers as they become due, and tell who is in them."""
        steps = await self._sums.steps(job.job_id, record.number)
        if not steps or not await self.is_summed(record):
            return
        now, patience = self._clock(), Patience.of(record.deadline, job.round_seconds)
        tasks = await self._rounds.tasks(job.job_id, record.number)
        waiting = {task.site for task in tasks if task.state not in ENDED}
        fixed = await self._sums.find(job.job_id, record.number)
        if fixed is None:
            entered = {site for site in waiting if "keys" in steps.get(site, ())}
            if not due(entered, waiting, now, patience.keys_until):
                return
            kept = chosen(entered, _context(job, record))
            said = await self._sums.said(job.job_id, record.number, "keys")
            await self._sums.fix_roster(job.job_id, record.number, roster_of(said, kept))
            await self._leave_out(tasks, entered - kept, FULL)
            await self._leave_out(tasks, waiting - entered, LATE)
        else:
            inside = set(fixed.dealers or (keys.site for keys in fixed.roster.hospitals))
            await self._leave_out(tasks, waiting - inside, LATE)  # a crash came before it
            waiting &= inside
            dealt = {site for site in waiting if "shares" in steps.get(site, ())}
            if fixed.dealers or not due(dealt, waiting, now, patience.shares_until):
                return
            await self._sums.fix_dealers(job.job_id, record.number, sorted(dealt))
            await self._leave_out(tasks, waiting - dealt, LATE)
        await self._tell(job, record)

    async def opened(self, job: JobRecord, number: int) -> Opened | None:
        """Return what a finished sum was made of; None where it did not open."""
        record = next((r for r in await self._rounds.all(job.job_id) if r.number == number), None)
        fixed = await self._sums.find(job.job_id, number)
        if record is None or fixed is None or not fixed.dealers or fixed.transcript is None:
            return None
        tasks = await self._rounds.tasks(job.job_id, number)
        outcomes = {
            task.site: TaskOutcome.FromString(task.outcome) for task in tasks if task.accepted
        }
        if not outcomes or not all(map(brings_update, outcomes.values())):
            return None  # who was in it is marked: it was given up
        said = await self._sums.said(job.job_id, number, "unmasking")
        circle = Circle.of(_context(job, record), fixed.roster)
        dealers, survivors = fixed.dealers, [*fixed.transcript.survivors.sites]

        def join() -> Opened | None:
            if not circle.can_open(said, dealers, survivors):
                return None
            return Opened(
                number,
                fixed.roster,
                fixed.transcript or SumTranscript(),
                circle.secrets(said, dealers, survivors),
                {
                    site: self._objects.path(outcomes[site].update_digest).read_bytes()
                    for site in survivors
                },
            )

        try:
            return await asyncio.to_thread(join)
        except SumBroken:
            return None

    async def is_sound(self, task: TaskRecord, record: RoundRecord) -> bool | None:
        """Say whether a masked update can be in the sum: nobody can look into it.

        None for a round that is not summed.
        """
        job = await self._jobs.get(record.job_id)
        if job is None or not await self.is_summed(record):
            return None
        outcome = TaskOutcome.FromString(task.outcome)
        fixed = await self._sums.find(job.job_id, record.number)
        if fixed is None or task.site not in (fixed.dealers or ()) or not brings_update(outcome):
            return False
        circle, manifest = (
            Circle.of(_context(job, record), fixed.roster),
            await self._manifest_of(job),
        )
        if not is_vouched_for(manifest, circle, task.site, outcome):
            return False
        layout = await self._layout(job, record)
        size = await asyncio.to_thread(self._objects.size, outcome.update_digest)
        return size == layout.size([*weights_of(fixed.roster.hospitals).values()])

    async def conclude(self, job: JobRecord, record: RoundRecord) -> SummedUp | None:
        """In a closed round, return what its sum gave; None while what opens it is coming.

        A sum that cannot be had any more gives nothing, and each hospital in it is named.
        """
        found = await self._finish(job, record)
        if not isinstance(found, SumBroken):
            return found
        await self._abandon(job, record, found)
        return SummedUp(None, 0.0, None)

    async def _finish(self, job: JobRecord, record: RoundRecord) -> SummedUp | SumBroken | None:
        fixed = await self._sums.find(job.job_id, record.number)
        steps = await self._sums.steps(job.job_id, record.number)
        tasks = await self._rounds.tasks(job.job_id, record.number)
        survivors = [task.site for task in tasks if task.accepted]
        if fixed is None or fixed.dealers is None:
            return SumBroken("no masked update came")
        await self._tell(job, record)
        patience = Patience.of(record.deadline, job.round_seconds).step_seconds
        try:
            if fixed.transcript is None:
                until = (record.closed_at or self._clock()) + patience
                await self._agree(job, record, fixed, steps, survivors, until)
                return None
            until = (fixed.transcript_at or self._clock()) + patience
            opened = [site for site in survivors if "unmasking" in steps.get(site, ())]
            if len(opened) >= threshold(len(fixed.roster.hospitals)):
                said = await self._sums.said(job.job_id, record.number, "unmasking")
                circle = Circle.of(_context(job, record), fixed.roster)
                if circle.can_open(said, fixed.dealers, survivors):
                    return await self._open(job, record, circle, fixed, said, tasks)
        except SumBroken as fault:
            return fault
        late = SumBroken("too few hospitals revealed what takes the masks off")
        return late if self._clock() >= until else None

    async def _agree(
        self,
        job: JobRecord,
        record: RoundRecord,
        fixed: SumRound,
        steps: Steps,
        survivors: Sequence[str],
        until: float,
    ) -> None:
        """Fix the transcript, once enough have signed who is in the sum."""
        now = self._clock()
        signed = agreed(steps, len(fixed.roster.hospitals), survivors, now, until)
        if signed is not None:
            said = await self._sums.said(job.job_id, record.number, "consent")
            transcript = transcript_of(said, survivors, signed)
            await self._sums.fix_transcript(job.job_id, record.number, transcript, now)
            await self._tell(job, record)

    async def _abandon(self, job: JobRecord, record: RoundRecord, fault: SumBroken) -> None:
        for task in await self._rounds.tasks(job.job_id, record.number):
            if task.accepted:
                said = malformed(task.task_id, UNFINISHED).SerializeToString()
                await self._rounds.mark(task.task_id, said)
        await self._audit.record(
            "sum_unfinished", job=job.job_id, round=record.number, reason=str(fault)
        )

    async def _open(
        self,
        job: JobRecord,
        record: RoundRecord,
        circle: Circle,
        fixed: SumRound,
        said: Said,
        tasks: Sequence[TaskRecord],
    ) -> SummedUp:
        assert fixed.dealers is not None
        accepted = {
            task.site: TaskOutcome.FromString(task.outcome) for task in tasks if task.accepted
        }
        weights = weights_of(fixed.roster.hospitals)
        total = sum(weights[site] for site in accepted)
        layout = await self._layout(job, record)
        remover = await asyncio.to_thread(circle.remover, said, fixed.dealers, [*accepted])
        into = self._objects.scratch(f"{job.job_id}-{record.number}-sum")
        histogram = await asyncio.to_thread(
            unmask,
            layout,
            [self._objects.path(outcome.update_digest) for outcome in accepted.values()],
            remover,
            width_of(layout.bits, weights.values()),
            total,
            into,
        )
        await self._audit.record(
            "sum_opened", job=job.job_id, round=record.number, roster=circle.digest.hex(),
            weights=record.weights_digest.hex(), survivors=len(accepted), of=len(circle.keys),
        )  # fmt: skip
        return SummedUp(into if layout.schema else None, float(total), histogram)

    async def _leave_out(self, tasks: Sequence[TaskRecord], sites: set[str], word: str) -> None:
        """End the part of those that are not in it: the round does not wait for them."""
        for task in tasks:
            if task.site in sites:
                await self._rounds.mark(
                    task.task_id, malformed(task.task_id, word).SerializeToString()
                )
                await self._audit.record(word, site=task.site, task=task.task_id)

    async def _tell(self, job: JobRecord, record: RoundRecord) -> None:
        """Offer each hospital its next step; a line offers the same step once."""
        fixed = await self._sums.find(job.job_id, record.number)
        if fixed is None:
            return
        for site, call in await self._calls(job, record, fixed):
            self._deliver(site, call)

    async def _calls(
        self, job: JobRecord, record: RoundRecord, fixed: SumRound
    ) -> list[tuple[str, SumCall]]:
        """Return what each hospital of a round is to be told next."""
        tasks = await self._rounds.tasks(job.job_id, record.number)
        steps = await self._sums.steps(job.job_id, record.number)
        survivors = SumSurvivors(sites=[task.site for task in tasks if task.accepted])
        circle = Circle.of(_context(job, record), fixed.roster)
        dealt: Said = {}
        if record.closed_at is None and fixed.dealers is not None:
            dealt = await self._sums.said(job.job_id, record.number, "shares")
        calls: list[tuple[str, SumCall]] = []
        for task in tasks:
            taken = steps.get(task.site, frozenset())
            if task.site not in circle.keys or taken & OVER_WITH_IT:
                continue
            call = SumCall(task_id=task.task_id)
            if task.accepted and "consent" in taken and fixed.transcript is not None:
                call.transcript.CopyFrom(fixed.transcript)
            elif task.accepted:
                call.survivors.CopyFrom(survivors)
            elif task.state in ENDED or record.closed_at is not None:
                continue
            elif fixed.dealers is None:
                call.roster.CopyFrom(fixed.roster)
            elif task.site in fixed.dealers:
                call.shares.CopyFrom(inbox(dealt, circle, fixed.dealers, task.site))
            else:
                continue
            calls.append((task.site, call))
        return calls

    async def _layout(self, job: JobRecord, record: RoundRecord) -> Layout:
        manifest = await self._manifest_of(job)
        return Layout.of(manifest, trains=not record.evaluate_only)

    async def _manifest_of(self, job: JobRecord) -> JobManifest:
        return await asyncio.to_thread(self._manifest, job.bundle_digest)

    def _read_manifest(self, digest: bytes) -> JobManifest:
        """Read a submitted bundle's manifest; the bundle was checked whole when it came."""
        with tarfile.open(self._objects.path(digest), "r:") as packed:
            member = packed.extractfile(job_manifest.MANIFEST)
            assert member is not None
            return job_manifest.parse_manifest(member.read().decode("utf-8"))


def _context(job: JobRecord, record: RoundRecord) -> SumContext:
    return SumContext(job.job_id, record.number, job.bundle_digest, record.weights_digest)
