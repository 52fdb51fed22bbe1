"""Drives rounds: every step is stored before the next, so a killed coordinator resumes its round.

The driver keeps nothing it could not read again: it folds what is stored through the rulebook,
acts on the effect, stores the result, and looks again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import structlog

from coordinator.audit import AuditTrail
from coordinator.model import (
    OVER,
    Clock,
    Deliver,
    JobRecord,
    JobStage,
    Offer,
    Pooled,
    RoundRecord,
    TaskRecord,
)
from coordinator.store.jobs import Jobs
from coordinator.store.objects import Objects
from coordinator.store.rounds import ENDED, Rounds
from coordinator.training.aggregate import UnusableUpdate
from coordinator.training.outcomes import REPORT, UPDATE, brings_update, is_sound, malformed
from coordinator.training.rules import Aggregate, Effect, GiveUp, Recruiting, Round, Start
from coordinator.training.sum_driver import SumDriver, SummedUp
from protos.v1.job_pb2 import (
    Decision,
    JobKind,
    RoundTask,
    ScoreHistogram,
    TaskOutcome,
    TaskState,
    Withdrawal,
)
from protos.v1.sum_pb2 import SumReport

TICK_SECONDS = 1.0

log = structlog.get_logger()


class Fold(Protocol):
    """Adds the weighted mean of updates to a model; reads and writes files, streaming."""

    def __call__(
        self, weights: Path, updates: Sequence[tuple[Path, float]], into: Path
    ) -> None: ...


class Sound(Protocol):
    """Says whether an update has exactly the model's tensors, all finite."""

    def __call__(self, weights: Path, update: Path) -> bool: ...


class Pool(Protocol):
    """Pools hospitals' statistics: (AUC, lower, upper end of its 95 % interval)."""

    def __call__(
        self, histograms: Sequence[ScoreHistogram]
    ) -> tuple[float | None, float | None, float | None]: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """The arithmetic the driver is given."""

    fold: Fold
    sound: Sound
    pool: Pool


class RoundDriver:
    def __init__(
        self,
        jobs: Jobs,
        rounds: Rounds,
        objects: Objects,
        audit: AuditTrail,
        deliver: Deliver,
        clock: Clock,
        decision_seconds: float,
        sums: Sums,
        *,
        secure: SumDriver,
    ) -> None:
        self._jobs = jobs
        self._rounds = rounds
        self._objects = objects
        self._audit = audit
        self._deliver = deliver
        self._clock = clock
        self._decision_seconds = decision_seconds
        self._sums = sums
        self._secure = secure
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pushed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._working: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take up what a stop interrupted, then watch the deadlines."""
        for record in await self._jobs.unfinished():
            self.wake(record.job_id)
        try:
            while True:
                for job_id in {
                    *await self._rounds.due(self._clock(), self._decision_seconds),
                    *await self._secure.under_way(),
                }:
                    self.wake(job_id)
                await asyncio.sleep(TICK_SECONDS)
        finally:
            for task in self._working:
                task.cancel()

    def wake(self, job_id: str) -> None:
        """Look at a job soon."""
        task = asyncio.create_task(self._consider(job_id))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def update_arrived(self, task_id: str) -> None:
        """Take note that a task's update is here whole: its outcome may be settled now."""
        self._pushed[task_id].set()

    async def outstanding(self, site: str) -> Sequence[Offer]:
        tasks = [_task(task, its) for task, its in await self._rounds.outstanding(site)]
        return [*tasks, *await self._secure.outstanding(site)]

    async def take_sum(self, site: str, report: SumReport) -> None:
        """Store a hospital's step in a secure sum."""
        if (job_id := await self._secure.take(site, report)) is not None:
            self.wake(job_id)

    async def take_outcome(self, site: str, outcome: TaskOutcome) -> None:
        """Store a site's report; one that names an update waits until the update is here."""
        task = await self._rounds.task(outcome.task_id)
        if task is None or task.site != site:
            await self._audit.record("outcome_refused", site=site, task=outcome.task_id[:64])
            return
        if not is_sound(outcome):
            outcome = malformed(outcome.task_id, REPORT)
        its = await self._rounds.round_of(task)
        pushes = not its.evaluate_only or await self._secure.is_summed(its)
        if brings_update(outcome) and pushes:
            await self._await_update(outcome)
        state, body = outcome.state, outcome.SerializeToString()
        await self._rounds.report(task.task_id, state, body, self._clock())
        if state in ENDED:
            name = TaskState.Name(state)
            await self._audit.record("task_ended", site=site, task=task.task_id, state=name)
            self.wake(task.job_id)

    async def _await_update(self, outcome: TaskOutcome) -> None:
        arrived = self._pushed[outcome.task_id]
        try:
            while True:
                arrived.clear()
                task = await self._rounds.task(outcome.task_id)
                if task is not None and task.pushed == outcome.update_digest:
                    return
                await arrived.wait()
        finally:
            self._pushed.pop(outcome.task_id, None)

    async def _consider(self, job_id: str) -> None:
        async with self._locks[job_id]:
            try:
                while await self._step(job_id):
                    pass
            except Exception as fault:  # noqa: BLE001 - a disk may be full now and not later
                # The kind only: a trace may quote what a peer sent.
                log.error("job_step_failed", job=job_id, kind=type(fault).__name__)  # noqa: TRY400

    async def _step(self, job_id: str) -> bool:
        """Do the next thing a job needs; False when it needs to wait."""
        job = await self._jobs.get(job_id)
        if job is None or job.stage in OVER:
            return False
        if job.stage is JobStage.OFFERED:
            return await self._recruit(job)
        newest = await self._rounds.newest(job_id)
        if newest is None:
            return False
        if newest.closed_at is None:
            await self._secure.prepare(job, newest)
            return await self._gather(job, newest)
        summed = None
        if await self._secure.is_summed(newest):
            summed = await self._secure.conclude(job, newest)
            if summed is None:
                return False
        await self._turn(job, newest, summed)
        return True

    async def _recruit(self, job: JobRecord) -> bool:
        sites = await self._jobs.sites(job.job_id)
        recruiting = Recruiting(frozenset(part.site for part in sites), job.quorum)
        for part in sites:
            if part.decision:
                approved = part.decision == Decision.DECISION_APPROVED
                recruiting = recruiting.decided(part.site, approved=approved)
        since = job.submitted_at if job.offered_at is None else job.offered_at
        patience_over = self._clock() >= since + self._decision_seconds
        for effect in recruiting.effects(patience_over=patience_over):
            if isinstance(effect, Start):
                first = self._round(job, 1, job.weights_digest, job.weights_size)
                tasks = _tasks(first, effect.sites)
                await self._rounds.open(first, tasks)
                self._hand_out(first, tasks)
            elif isinstance(effect, GiveUp):
                await self._give_up(job, effect.reason)
            return True
        return False

    async def _gather(self, job: JobRecord, record: RoundRecord) -> bool:
        tasks = await self._rounds.tasks(job.job_id, record.number)
        usable = await self._usable(tasks, record)
        round_ = Round(frozenset(task.site for task in tasks), job.quorum)
        effects: list[Effect] = []
        for task in tasks:
            if task.state in ENDED and not effects:
                told = round_.update_arrived if task.site in usable else round_.site_dropped
                round_, effects = told(task.site)
        if not effects and self._clock() >= record.deadline:
            round_, effects = round_.deadline_passed()
        for effect in effects:
            if isinstance(effect, Aggregate):
                await self._rounds.close(record, effect.sites, self._clock())
            elif isinstance(effect, GiveUp) and record.evaluate_only and record.number > 1:
                # The model is trained: too few figures on it are no reason to lose it.
                await self._rounds.close(record, round_.arrived, self._clock())
            elif isinstance(effect, GiveUp):
                await self._give_up(job, f"round {record.number}: {effect.reason}")
        return bool(effects)

    async def _usable(self, tasks: Sequence[TaskRecord], record: RoundRecord) -> frozenset[str]:
        """Return who released what the round can take; an update that cannot be is turned down."""
        usable = set()
        for task in tasks:
            outcome = TaskOutcome.FromString(task.outcome)
            if task.state != TaskState.TASK_STATE_RELEASED:
                continue
            sound = await self._secure.is_sound(task, record)
            if sound is None:
                sound = record.evaluate_only or await self._is_sound(outcome, record)
            if sound:
                usable.add(task.site)
            else:
                said = malformed(task.task_id, UPDATE).SerializeToString()
                await self._rounds.mark(task.task_id, said)
        return frozenset(usable)

    async def _is_sound(self, outcome: TaskOutcome, record: RoundRecord) -> bool:
        if not brings_update(outcome) or outcome.weight <= 0:
            return False
        weights, update = (
            self._objects.path(digest) for digest in (record.weights_digest, outcome.update_digest)
        )
        return await asyncio.to_thread(self._sums.sound, weights, update)

    async def _turn(self, job: JobRecord, record: RoundRecord, summed: SummedUp | None) -> None:
        """Fold a closed round and open the next; a repeat after a crash gives the same bytes."""
        tasks = await self._rounds.tasks(job.job_id, record.number)
        outcomes = [TaskOutcome.FromString(task.outcome) for task in tasks if task.accepted]
        histograms = [said.validation for said in outcomes if said.HasField("validation")]
        if summed is not None:
            histograms = [] if summed.histogram is None else [summed.histogram]
        figure = Pooled(record.number, *await asyncio.to_thread(self._sums.pool, histograms))
        following: RoundRecord | None = None
        if not record.evaluate_only:
            try:
                digest, size = await asyncio.to_thread(self._fold, job, record, outcomes, summed)
            except UnusableUpdate as fault:
                await self._give_up(job, f"round {record.number}: {fault}")
                return
            following = self._round(job, record.number + 1, digest, size)
        sites = await self._jobs.sites(job.job_id)
        approved = frozenset(
            part.site for part in sites if part.decision == Decision.DECISION_APPROVED
        )
        if following is not None and not approved:
            await self._give_up(job, "no hospital runs this job any more")
            return
        given = _tasks(following, approved) if following is not None else []
        await self._rounds.turn(record, figure, following, given)
        await self._audit.record(
            "round_ended", job=job.job_id, round=record.number, updates=len(outcomes)
        )
        if following is None:
            self._withdraw(job.job_id, [part.site for part in sites])
        else:
            self._hand_out(following, given)

    def _fold(
        self,
        job: JobRecord,
        record: RoundRecord,
        outcomes: Sequence[TaskOutcome],
        summed: SummedUp | None,
    ) -> tuple[bytes, int]:
        into = self._objects.scratch(f"{job.job_id}-{record.number}")
        if summed is None:
            updates = [(self._objects.path(said.update_digest), said.weight) for said in outcomes]
        elif summed.mean is None:  # of a sum that did not open: the model stays where it is
            return record.weights_digest, record.weights_size
        else:  # the mean, as if one hospital had sent it
            updates = [(summed.mean, summed.weight)]
        self._sums.fold(self._objects.path(record.weights_digest), updates, into)
        if summed is not None and summed.mean is not None:
            summed.mean.unlink()
        size = into.stat().st_size
        return self._objects.adopt(into), size

    async def _give_up(self, job: JobRecord, reason: str) -> None:
        if await self._jobs.end(job.job_id, JobStage.FAILED, reason):
            await self._audit.record("job_failed", job=job.job_id, reason=reason)
            self._withdraw(job.job_id, [part.site for part in await self._jobs.sites(job.job_id)])

    def _round(self, job: JobRecord, number: int, digest: bytes, size: int) -> RoundRecord:
        evaluation = job.kind == JobKind.JOB_KIND_EVALUATION
        return RoundRecord(
            job_id=job.job_id,
            number=number,
            weights_digest=digest,
            weights_size=size,
            # After the last round the final model is measured once more.
            evaluate_only=evaluation or number > job.rounds,
            deadline=self._clock() + job.round_seconds,
        )

    def _hand_out(self, record: RoundRecord, tasks: Sequence[TaskRecord]) -> None:
        for task in tasks:
            self._deliver(task.site, _task(task, record))

    def _withdraw(self, job_id: str, sites: Sequence[str]) -> None:
        for site in sites:
            self._deliver(site, Withdrawal(job_id=job_id))


def _tasks(record: RoundRecord, sites: frozenset[str]) -> list[TaskRecord]:
    return [
        TaskRecord(_task_id(record, site), record.job_id, record.number, site)
        for site in sorted(sites)
    ]


def _task_id(record: RoundRecord, site: str) -> str:
    """Name one hospital's part in one round: the same name, however often a round is opened."""
    return sha256(f"{record.job_id}/{record.number}/{site}".encode()).hexdigest()[:32]


def _task(task: TaskRecord, record: RoundRecord) -> RoundTask:
    made = RoundTask(
        task_id=task.task_id,
        job_id=task.job_id,
        round=task.round,
        weights_digest=record.weights_digest,
        weights_size=record.weights_size,
        evaluate_only=record.evaluate_only,
    )
    made.deadline.FromNanoseconds(int(record.deadline * 1e9))
    return made
