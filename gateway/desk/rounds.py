"""Rounds: one at a time, each step repeatable, so that a kill at any moment loses only time."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import monotonic

from gateway.audit import AuditTrail
from gateway.desk import reports
from gateway.desk.arriving import Arriving, task_of
from gateway.desk.book import Book, JobRow, TaskRow
from gateway.desk.chain import RoundChain
from gateway.desk.charging import Charging
from gateway.desk.cohorts import Cohorts
from gateway.desk.examining import Examiner
from gateway.desk.homes import Homes, home_of
from gateway.desk.judging import Judging
from gateway.desk.logs import JobLogs
from gateway.desk.objects import Objects, Wanted
from gateway.desk.offers import offer_of
from gateway.desk.outcomes import UpdateGate
from gateway.desk.rules import (
    JobStage,
    Refusal,
    TaskStage,
    judge_manifest,
    judge_offer,
    moment,
    with_subject,
)
from gateway.desk.running import Running, confines, failure_word, lacks, run_round
from gateway.desk.signers import Signers
from gateway.desk.sums import Sums
from gateway.desk.ticks import ROUND_TICK_SECONDS, due
from gateway.desk.watching import Watching
from gateway.errors import IntegrityFault
from gateway.policy import Policy
from gateway.release.rules import Withheld
from gateway.sandbox.rules import FailureCode
from gateway.sandbox.runner import Finished, JobFailed
from gateway.sandbox.workspace import Workspace
from protos import bundle, job_manifest
from protos.v1 import job_pb2

SUM_GRACE_SECONDS = 60.0
ATTEMPTS_AT_MOST = 5  # a round that takes the gateway down with it is not tried for ever


class Rounds:
    def __init__(
        self,
        book: Book,
        objects: Objects,
        cohorts: Cohorts,
        gate: UpdateGate,
        policy: Callable[[], Policy],
        audit: AuditTrail,
        signers: Signers,
        charging: Charging,
        *,
        examiner: Examiner,
        sums: Sums,
        runner: Running | None,
        directory: Path,
        wall_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._book = book
        self._objects = objects
        self._directory = directory
        self._homes = Homes(directory, objects)
        self._logs = JobLogs(directory.with_name("logs"))
        self._cohorts = cohorts
        self._runner = runner
        self._policy = policy
        self._audit = audit
        self._signers = signers
        self._charging = charging
        self._sets = examiner.sets
        self.sums = sums
        self._judging = Judging(gate, examiner, charging, policy)
        self._chain = RoundChain(book, policy, audit)
        self._arriving = Arriving(book, self._chain, audit)
        self._wall_seconds = wall_seconds
        self._now = now
        self._watching = Watching(book)
        self._elapsed = elapsed

    @property
    def can_run(self) -> bool:
        """Say whether there is a sandbox, and as strong a one as the policy demands by now."""
        return self._runner is not None and confines(self._runner, self._policy().jobs)

    def lacks(self, manifest: job_manifest.JobManifest) -> Refusal | None:
        """Say what a job needs that is not to be had in here."""
        if self._runner is None:
            return Refusal("sandbox_unavailable")
        return lacks(self._runner, manifest)

    def take(self, task: job_pb2.RoundTask) -> None:
        """Remember a round; one that was taken before is reported as before."""
        self._arriving.take(task)

    def wanted(self) -> list[Wanted]:
        """Return the weights that approved rounds wait for."""
        found = []
        for row in self._book.open_tasks():
            task = task_of(row)
            at_most = self._policy().jobs.weights_bytes_at_most
            if self._refusal(row, task) is None and task.weights_size <= at_most:
                wanted = Wanted(task.weights_digest, task.weights_size)
                if task.weights_digest and not self._objects.has(task.weights_digest):
                    found.append(wanted)
        return found

    def work(self, stop: Event) -> bool:
        """Run the oldest round that can run; refuse those that may not."""
        for row in self._book.open_tasks():
            task = task_of(row)
            if (refusal := self._refusal(row, task)) is not None:
                self._end(row, TaskStage.REFUSED, refusal.rule)
                return True
            if not task.weights_digest or self._objects.has(task.weights_digest):
                self._run(row, task, stop)
                return True
        self._tidy()
        return False

    def end_idle_sums(self) -> None:
        """End the sums that did not come about, and those of jobs that are over here."""
        for row in self._book.summing_tasks():
            job = self._book.job(row.job_id)
            over = job is None or job.stage is not JobStage.APPROVED
            if over or self._seconds_left(task_of(row)) < -SUM_GRACE_SECONDS:
                self.sums.give_up(row.task_id)
                self._end(row, TaskStage.REFUSED, "withdrawn" if over else "sum_unfinished")

    def cancel(self, job_id: str) -> None:
        """Stop the job's round if it is the one that runs, and the sums it waits for."""
        self.sums.cancel(job_id)
        self._watching.cancel(job_id)

    def declared_metrics(self, task_id: str) -> tuple[job_manifest.MetricSpec, ...]:
        """Return what the reviewed manifest says of its metrics; nothing where it is unknown."""
        manifest = self._manifest(task_id)
        return () if manifest is None else manifest.metrics

    def declared_names(self, task_id: str) -> frozenset[str]:
        """Return the names a code may have beside it: the reviewed manifest's, and no other."""
        manifest = self._manifest(task_id)
        return (
            frozenset() if manifest is None else frozenset({*manifest.weights, *manifest.imports})
        )

    def _manifest(self, task_id: str) -> job_manifest.JobManifest | None:
        row = self._book.task(task_id)
        job = self._book.job(row.job_id) if row else None
        digest = offer_of(job).bundle_digest if job else b""
        if not digest or not self._objects.has(digest):
            return None
        return bundle.manifest_of(self._objects.read(digest))

    def _refusal(self, row: TaskRow, task: job_pb2.RoundTask) -> Refusal | None:
        """Say why a round may not run (any more)."""
        job = self._book.job(row.job_id)
        jobs = self._policy().jobs
        broken = {
            "not_approved": job is None or job.stage not in (JobStage.APPROVED, JobStage.WITHDRAWN),
            "withdrawn": job is not None and job.stage is JobStage.WITHDRAWN,
            "jobs_disabled": not jobs.enabled,
            "sandbox_unavailable": not self.can_run,
            "deadline_passed": self._seconds_left(task) <= 0,
            "weights_too_large": task.weights_size > jobs.weights_bytes_at_most,
            "too_many_attempts": row.attempts >= ATTEMPTS_AT_MOST,
            "superseded": self._watching.is_superseded(row),
        }
        found = next((Refusal(rule) for rule, applies in broken.items() if applies), None)
        if found is not None or job is None:
            return found
        return self._signers.judge_weights(task, offer_of(job)) or self._chain.judge(task, job)

    def _run(self, row: TaskRow, task: job_pb2.RoundTask, stop: Event) -> None:
        job = self._book.job(row.job_id)
        assert job is not None
        began = self._elapsed()
        running = reports.of_state(row.task_id, job_pb2.TASK_STATE_RUNNING, by=job.approved_by)
        self._book.move_task(row.task_id, TaskStage.RUNNING, running)
        try:
            raw = self._objects.read(offer_of(job).bundle_digest)
        except (IntegrityFault, FileNotFoundError):  # what was approved is not here any more
            self._end(row, TaskStage.REFUSED, "bad_digest")
            return
        manifest = bundle.manifest_of(raw)
        ready = (
            self._unfit(task, job, manifest)
            or self._sets.judge(task.task_id, job.vendor, manifest)
            or self._charging.begin(row.task_id, row.attempts + 1, job.vendor, manifest)
            or self._prepare(task, job, manifest)
        )
        if isinstance(ready, Refusal):
            self._end(row, TaskStage.REFUSED, ready.rule)
            return
        workspace, _ = ready
        if refusal := self._charging.affords(job.vendor, manifest, workspace):
            self._end(row, TaskStage.REFUSED, refusal.rule)
            return
        weights, old = self._homes.weights(task, raw)
        code = self._homes.unpacked(job.job_id, raw)
        with self._watching.over(row, stop) as cancelled:
            ended = self._start(task, manifest, code, workspace, weights, cancelled)
        self._logs.keep(job.job_id, task.round, ended.log)
        if stop.is_set() and isinstance(ended, JobFailed):
            return  # found RUNNING at the next start, and run again
        if isinstance(ended, JobFailed):
            self._wait_for_tick(began, stop)
            withdrawn = ended.code is FailureCode.WITHDRAWN
            stage = TaskStage.REFUSED if withdrawn else TaskStage.FAILED
            overtaken = withdrawn and self._watching.is_superseded(row)
            self._end(row, stage, "superseded" if overtaken else failure_word(ended, manifest))
            return
        found = self._judging.judge(task, job, ended, manifest, ready, old)
        self._wait_for_tick(began, stop)
        if isinstance(found, Withheld):
            self._end(row, TaskStage.WITHHELD, with_subject(found.code, found.subject))
            return
        self._move_on(row, task, job, manifest, found)
        self._forget_weights(row)

    def _wait_for_tick(self, began: float, stop: Event) -> None:
        now = self._elapsed()
        stop.wait(due(began, now, ROUND_TICK_SECONDS) - now)

    def _move_on(
        self,
        row: TaskRow,
        task: job_pb2.RoundTask,
        job: JobRow,
        manifest: job_manifest.JobManifest,
        found: job_pb2.TaskOutcome,
    ) -> None:
        """Report what may leave; where it is part of a secure sum, enter that sum first."""
        if manifest.is_summed and found.update_digest:
            report = self.sums.begin(task, job, offer_of(job).bundle_digest, manifest, found)
            self._book.move_task(row.task_id, TaskStage.SUMMING, report)
            return
        if found.update_digest:  # signed last: nothing of it changes any more
            self._sets.sign_update(found)
        report = reports.of_outcome(found, job.approved_by)
        self._book.move_task(row.task_id, TaskStage.RELEASED, report)
        self._audit.record(
            "round_released", task=row.task_id, job=row.job_id, bits=found.leakage_bits
        )

    def _unfit(
        self, task: job_pb2.RoundTask, job: JobRow, manifest: job_manifest.JobManifest
    ) -> Refusal | None:
        """Ask the policy as it is now: what was approved may not be allowed any more."""
        if not 1 <= task.round <= manifest.rounds + int(task.evaluate_only):
            return Refusal("round_out_of_range")
        if refusal := self.lacks(manifest):
            return refusal
        offer, jobs = offer_of(job), self._policy().jobs
        return (
            judge_offer(offer, jobs)
            or self._signers.judge(offer)
            or judge_manifest(manifest, offer, jobs)
            or self.sums.judge(task, manifest)
        )

    def _start(
        self,
        task: job_pb2.RoundTask,
        manifest: job_manifest.JobManifest,
        code: Path,
        workspace: Workspace,
        weights: Path | None,
        cancelled: Event,
    ) -> Finished | JobFailed:
        assert self._runner is not None
        wall = min(self._wall_seconds, manifest.resources.wall_seconds, self._seconds_left(task))
        return run_round(
            self._runner,
            code,
            workspace,
            weights,
            manifest,
            number=task.round,
            evaluate_only=task.evaluate_only,
            wall_seconds=wall,
            cancelled=cancelled,
        )

    def _prepare(
        self, task: job_pb2.RoundTask, job: JobRow, manifest: job_manifest.JobManifest
    ) -> tuple[Workspace, float] | Refusal:
        """Freeze the cohort and weigh it, both once for all rounds of the job."""
        weight = job.weight
        if weight is None:
            weighed = self._cohorts.weigh(job.job_id, job.vendor, manifest)
            if isinstance(weighed, Refusal):
                return weighed
            weight = weighed
            self._book.weigh(job.job_id, weight)
        # Decided on the noisy number: the true one would be told by the refusal.
        if weight < self._policy().jobs.min_patients:
            return Refusal("cohort_too_small")
        self._sets.unlock(task.task_id, job.vendor, manifest, offer_of(job).bundle_digest)
        workspace = self._cohorts.frozen(
            home_of(self._directory, job.job_id) / "workspace", manifest
        )
        if isinstance(workspace, Refusal):
            return workspace
        left_out = sum(workspace.skipped.values())
        self._audit.record(
            "cohort_frozen", job=job.job_id, root=workspace.digest, left_out=left_out
        )
        return workspace, weight

    def _end(self, row: TaskRow, stage: TaskStage, code: str) -> None:
        state = {
            TaskStage.REFUSED: job_pb2.TASK_STATE_REFUSED,
            TaskStage.FAILED: job_pb2.TASK_STATE_FAILED,
            TaskStage.WITHHELD: job_pb2.TASK_STATE_WITHHELD,
        }[stage]
        self._book.move_task(row.task_id, stage, reports.of_state(row.task_id, state, code), code)
        self._audit.record("round_ended", task=row.task_id, stage=stage, code=code)
        self._forget_weights(row)

    def _forget_weights(self, row: TaskRow) -> None:
        self._homes.forget_weights(task_of(row), map(task_of, self._book.open_tasks()))

    def _tidy(self) -> None:
        """Remove the images of jobs that are over from the desk."""
        for job in self._book.jobs_at(JobStage.WITHDRAWN, JobStage.REJECTED):
            if self._homes.remove(job.job_id):
                self._audit.record("workspace_removed", job=job.job_id)

    def _seconds_left(self, task: job_pb2.RoundTask) -> float:
        if not task.HasField("deadline"):
            return self._wall_seconds
        until = moment(task.deadline)
        return 0.0 if until is None else (until - self._now()).total_seconds()
