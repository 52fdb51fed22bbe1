"""Drives rounds: every step is stored before the next, so a killed coordinator resumes its round.

The driver keeps nothing it could not read again: it folds what is stored through the rulebook,
acts on the effect, stores the result, and looks again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

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
from coordinator.store.rounds import ENDED, Rounds
from coordinator.training.aggregate import UnusableUpdate
from coordinator.training.folding import Folding
from coordinator.training.handing import Handing, tasks_of
from coordinator.training.outcomes import REPORT, UPDATE, brings_update, is_sound, malformed
from coordinator.training.rules import (
    Aggregate,
    Effect,
    GiveUp,
    Recruiting,
    Round,
    Start,
    has_lost_patience,
)
from coordinator.training.sum_driver import SumDriver, SummedUp
from protos.training import plan_of
from protos.v1.job_pb2 import (
    Decision,
    JobKind,
    TaskOutcome,
    TaskState,
    Withdrawal,
)
from protos.v1.sum_pb2 import SumReport

TICK_SECONDS = 1.0

log = structlog.get_logger()


class RoundDriver:
    def __init__(
        self,
        jobs: Jobs,
        rounds: Rounds,
        audit: AuditTrail,
        deliver: Deliver,
        clock: Clock,
        decision_seconds: float,
        *,
        folding: Folding,
        handing: Handing,
        secure: SumDriver,
    ) -> None:
        self._jobs = jobs
        self._rounds = rounds
        self._audit = audit
        self._deliver = deliver
        self._clock = clock
        self._decision_seconds = decision_seconds
        self._folding = folding
        self._handing = handing
        self._secure = secure
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pushed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._working: set[asyncio.Task[None]] = set()
        self._unread: set[str] = set()  # jobs that another process, perhaps an older one, left

    async def run(self) -> None:
        """Take up what a stop interrupted, then watch the deadlines."""
        await self._folding.forget_states(await self._rounds.states_left())
        for record in await self._jobs.unfinished():
            self._unread.add(record.job_id)
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
        found: list[Offer] = []
        for task, its in await self._rounds.outstanding(site):
            found += [made for _, made in await self._handing.tasks(its, [task])]
        return [*found, *await self._secure.outstanding(site)]

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
                if job_id in self._unread and (job := await self._jobs.get(job_id)) is not None:
                    await self._handing.complete(job)
                    self._unread.discard(job_id)
                while await self._step(job_id):
                    pass
                await self._forget_ended(job_id)
            except Exception as fault:  # noqa: BLE001 - a disk may be full now and not later
                # The kind only: a trace may quote what a peer sent.
                log.error("job_step_failed", job=job_id, kind=type(fault).__name__)  # noqa: TRY400

    async def _forget_ended(self, job_id: str) -> None:
        """Drop what the server remembers of a job that is over, however it ended."""
        job = await self._jobs.get(job_id)
        if job is not None and job.stage in OVER and plan_of(job.plan).is_adaptive:
            rounds = await self._rounds.all(job_id)
            await self._folding.forget_states(each.state_digest for each in rounds)

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
                tasks = tasks_of(first, plan_of(job.plan).asked(job.job_id, 1, effect.sites))
                await self._rounds.open(first, tasks)
                await self._hand_out(first, tasks)
            elif isinstance(effect, GiveUp):
                await self._give_up(job, effect.reason)
            return True
        return False

    async def _gather(self, job: JobRecord, record: RoundRecord) -> bool:
        tasks = await self._rounds.tasks(job.job_id, record.number)
        usable = await self._usable(tasks, record)
        ended = frozenset(task.site for task in tasks if task.state in ENDED)
        enough = 0 if record.evaluate_only else plan_of(job.plan).enough
        invited = frozenset(task.site for task in tasks)
        # All that have come are in, also those beyond `enough`: who was first is not known here.
        round_ = Round(invited, job.quorum, enough, arrived=usable, dropped=ended - usable)
        effects: list[Effect]
        round_, effects = round_.settled()
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
                sound = record.evaluate_only or await self._folding.is_sound(outcome, record)
            if sound:
                usable.add(task.site)
            else:
                said = malformed(task.task_id, UPDATE).SerializeToString()
                await self._rounds.mark(task.task_id, said)
        return frozenset(usable)

    async def _turn(self, job: JobRecord, record: RoundRecord, summed: SummedUp | None) -> None:
        """Fold a closed round and open the next; a repeat after a crash gives the same bytes."""
        tasks = await self._rounds.tasks(job.job_id, record.number)
        accepted = [task for task in tasks if task.accepted]
        outcomes = [TaskOutcome.FromString(task.outcome) for task in accepted]
        histograms = [said.validation for said in outcomes if said.HasField("validation")]
        if summed is not None:
            histograms = [] if summed.histogram is None else [summed.histogram]
        figure = Pooled(record.number, *await self._folding.pool(histograms))
        following, told = None, None
        if not record.evaluate_only:
            try:
                following = await self._following(job, record, figure, outcomes, summed)
            except UnusableUpdate as fault:
                await self._give_up(job, f"round {record.number}: {fault}")
                return
            told = await self._handing.transcript(job, record, accepted, following.weights_digest)
        sites = await self._jobs.sites(job.job_id)
        approved = frozenset(
            part.site for part in sites if part.decision == Decision.DECISION_APPROVED
        )
        if following is not None and not approved:
            await self._folding.forget_states([following.state_digest])
            await self._give_up(job, "no hospital runs this job any more")
            return
        given = self._invited(job, following, approved) if following is not None else []
        await self._rounds.turn(record, figure, following, given, told)
        await self._folding.forget_state(record, following)
        await self._audit.record(
            "round_ended", job=job.job_id, round=record.number, updates=len(outcomes)
        )
        if following is None:
            self._withdraw(job.job_id, [part.site for part in sites])
        else:
            await self._hand_out(following, given)

    async def _following(
        self,
        job: JobRecord,
        record: RoundRecord,
        figure: Pooled,
        outcomes: Sequence[TaskOutcome],
        summed: SummedUp | None,
    ) -> RoundRecord:
        """Return the round after: one that only measures, where the plan's patience is over."""
        plan = plan_of(job.plan)
        if summed is None:
            updates = self._folding.updates_of(outcomes)
        elif summed.mean is not None:  # as if one hospital had sent it
            updates = [(summed.mean, summed.weight)]
        else:
            updates = []  # of a sum that did not open: the model stays where it is
        weights, size, state = await self._folding.fold(job, record, updates)
        if summed is not None and summed.mean is not None:
            await asyncio.to_thread(summed.mean.unlink)
        figures = [*await self._rounds.pooled(job.job_id), figure]
        over = has_lost_patience(plan, figures)
        number = record.number + 1
        return self._round(job, number, weights, size, state, evaluate_only=over)

    async def _give_up(self, job: JobRecord, reason: str) -> None:
        if await self._jobs.end(job.job_id, JobStage.FAILED, reason):
            await self._audit.record("job_failed", job=job.job_id, reason=reason)
            self._withdraw(job.job_id, [part.site for part in await self._jobs.sites(job.job_id)])

    def _round(
        self,
        job: JobRecord,
        number: int,
        digest: bytes,
        size: int,
        state: bytes = b"",
        *,
        evaluate_only: bool = False,
    ) -> RoundRecord:
        evaluation = job.kind == JobKind.JOB_KIND_EVALUATION
        return RoundRecord(
            job_id=job.job_id,
            number=number,
            weights_digest=digest,
            weights_size=size,
            # After the last round the final model is measured once more.
            evaluate_only=evaluate_only or evaluation or number > job.rounds,
            deadline=self._clock() + job.round_seconds,
            state_digest=state,
        )

    def _invited(
        self, job: JobRecord, record: RoundRecord, approved: frozenset[str]
    ) -> list[TaskRecord]:
        """Draw whom a round asks; the final model is measured by all."""
        if record.evaluate_only:
            return tasks_of(record, approved)
        return tasks_of(record, plan_of(job.plan).asked(job.job_id, record.number, approved))

    async def _hand_out(self, record: RoundRecord, tasks: Sequence[TaskRecord]) -> None:
        for site, task in await self._handing.tasks(record, tasks):
            self._deliver(site, task)

    def _withdraw(self, job_id: str, sites: Sequence[str]) -> None:
        for site in sites:
            self._deliver(site, Withdrawal(job_id=job_id))
