"""Secure sums at the desk: each thing the coordinator tells is checked, then answered once.

What it tells may come again and in any order: a step that was taken gives the same answer, a step
that is not next is left alone. Only the hospital's own book says how far a sum is.
"""

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import AuditTrail
from gateway.desk import reports
from gateway.desk.book import Book, JobRow, Report
from gateway.desk.rules import JobStage, Refusal, TaskStage
from gateway.desk.sum_book import OVER, Session, SumBook, SumStage
from gateway.policy import Policy, SecureSums
from gateway.release.masking import Masking
from gateway.release.rules import Rule
from gateway.release.secure_sum import Circle, Secrets, SumRefused, admit, consent, enter
from gateway.release.updates import ReleasedUpdate
from protos.job_manifest import JobManifest
from protos.sums import SumContext, grid_of, width_of
from protos.v1 import job_pb2
from protos.v1.sum_pb2 import (
    SumCall,
    SumKeys,
    SumReport,
    SumRoster,
    SumShares,
    SumSurvivors,
    SumTranscript,
)

CALLS_AT_MOST = 64  # kept at a time; the coordinator tells again what got no answer

log = structlog.get_logger()


class SumGate(Protocol):
    def masked(self, task_id: str, masking: Masking) -> ReleasedUpdate: ...


class Signing(Protocol):
    """This hospital's key for what it releases."""

    def sign(self, task_id: str, statistics: bytes) -> tuple[bytes, bytes]: ...
    def sign_update(self, outcome: job_pb2.TaskOutcome) -> None: ...


class Sums:
    def __init__(
        self,
        site: str,
        book: Book,
        sessions: SumBook,
        gate: SumGate,
        policy: Callable[[], Policy],
        audit: AuditTrail,
        identity: Ed25519PrivateKey,
        signing: Signing,
    ) -> None:
        self._site = site
        self._book = book
        self._sessions = sessions
        self._gate = gate
        self._policy = policy
        self._audit = audit
        self._identity = identity
        self._signing = signing
        self._calls: dict[tuple[str, str], SumCall] = {}
        self._lock = Lock()

    # What the rounds bring

    def judge(self, task: job_pb2.RoundTask, manifest: JobManifest) -> Refusal | None:
        """Refuse a round that was summed before under another name: two sums show a difference."""
        if not manifest.is_summed:
            return None
        known = self._sessions.of_round(task.job_id, task.round)
        if known is None or known.task_id == task.task_id:
            return None
        self._audit.record("sum_refused", task=task.task_id, rule=Rule.ROUND_REPLAYED)
        return Refusal(Rule.ROUND_REPLAYED)

    def begin(
        self,
        task: job_pb2.RoundTask,
        job: JobRow,
        bundle: bytes,
        manifest: JobManifest,
        outcome: job_pb2.TaskOutcome,
    ) -> Report:
        """Keep what a round gave, draw this round's keys, and return the report that enters."""
        numbers = 0 if task.evaluate_only else manifest.values
        context = SumContext(task.job_id, task.round, bundle, task.weights_digest)
        secret = Secrets.drawn()
        keys = enter(context, self._site, outcome.weight, secret, self._identity)
        told = job_pb2.TaskOutcome()
        told.CopyFrom(outcome)
        told.ClearField("validation")  # its counts are in the sum
        told.weight = keys.weight
        session = self._sessions.enter(
            Session(
                task_id=task.task_id,
                job_id=task.job_id,
                round=task.round,
                bundle=bundle,
                weights=task.weights_digest,
                bits=grid_of(manifest.clip, manifest.sigma, numbers).bits,
                numbers=numbers,
                secrets=bytes(secret),
                keys=keys.SerializeToString(deterministic=True),
                outcome=told.SerializeToString(deterministic=True),
                approved_by=job.approved_by,
            )
        )
        self._forget_others(task)
        return _report(session, "keys", SumReport(keys=SumKeys.FromString(session.keys)))

    def give_up(self, task_id: str) -> None:
        """End a sum that nobody finishes; its secrets go."""
        session = self._sessions.find(task_id)
        if session is not None and session.stage not in OVER:
            ended = replace(session, stage=SumStage.ENDED, rule=Rule.SUM_UNFINISHED)
            self._sessions.move(ended, session.stage)

    def cancel(self, job_id: str) -> None:
        for session in self._sessions.open_sessions():
            if session.job_id == job_id:
                self.give_up(session.task_id)

    # What the link brings

    def take(self, call: SumCall) -> None:
        """Remember what to do next; of a sum that is not known here nothing is remembered."""
        step = call.WhichOneof("step") or ""
        if self._sessions.find(call.task_id) is None:
            self._audit.record("sum_unknown", step=step)
            return
        with self._lock:
            if len(self._calls) < CALLS_AT_MOST:
                self._calls[call.task_id, step] = call

    def work(self) -> bool:
        """Answer what was told; False where nothing was."""
        with self._lock:
            if not self._calls:
                return False
            key = next(iter(self._calls))
            call = self._calls.pop(key)
        session = self._sessions.find(call.task_id)
        try:
            if session is not None and self._is_approved(session):
                self._answer(session, call)
        except BaseException:
            with self._lock:
                self._calls.setdefault(key, call)  # a disk may be full now and not later
            raise
        return True

    def _is_approved(self, session: Session) -> bool:
        """Take no further step for a job that a steward has taken back meanwhile."""
        job = self._book.job(session.job_id)
        approved = job is not None and job.stage is JobStage.APPROVED
        if not approved:
            self.give_up(session.task_id)
        return approved

    def _answer(self, session: Session, call: SumCall) -> None:
        steps: dict[str, Callable[[Session, SumCall], None]] = {
            "roster": lambda known, said: self._deal(known, said.roster),
            "shares": lambda known, said: self._mask(known, said.shares),
            "survivors": lambda known, said: self._consent(known, said.survivors),
            "transcript": lambda known, said: self._unmask(known, said.transcript),
        }
        step = steps.get(call.WhichOneof("step") or "")
        if step is None:
            return  # of a newer coordinator
        try:
            step(session, call)
        except SumRefused as refused:
            self._refuse(session, refused.rule)

    # The steps

    def _deal(self, session: Session, roster: SumRoster) -> None:
        raw = roster.SerializeToString(deterministic=True)
        if session.roster and session.roster != raw:
            self._notice(session, Rule.ROSTER_DIFFERS)
            return
        if session.stage is SumStage.DEALT:
            self._repeat(session, "shares")
        if session.stage is not SumStage.ENTERED:
            return
        circle = self._circle(session, roster)
        dealt = circle.deal().SerializeToString(deterministic=True)
        session = replace(session, stage=SumStage.DEALT, roster=raw, dealt=dealt)
        if self._sessions.move(session, SumStage.ENTERED):
            weights = session.weights.hex()
            self._audit.record(
                "sum_joined", task=session.task_id, roster=circle.digest.hex(), weights=weights,
                hospitals=len(circle.keys),
            )  # fmt: skip
            self._repeat(session, "shares")

    def _mask(self, session: Session, told: SumShares) -> None:
        if session.stage is SumStage.MASKED:
            self._release(session)  # a crash may have come between the mask and its telling
            return
        if session.stage is not SumStage.DEALT:
            return
        self._circle(session).opened(told)
        held = told.SerializeToString(deterministic=True)
        masked = replace(session, stage=SumStage.MASKED, held=held)
        # Whose masks are in it is settled before it is made: another set would show a difference.
        if self._sessions.move(masked, SumStage.DEALT):
            self._release(masked)

    def _release(self, session: Session) -> None:
        task = self._book.task(session.task_id)
        if task is None or task.stage is not TaskStage.SUMMING:
            return
        outcome = job_pb2.TaskOutcome.FromString(session.outcome)
        circle = self._circle(session)
        dealers = [*circle.opened(SumShares.FromString(session.held))]
        masking = Masking(
            circle.mask(dealers),
            session.numbers,
            SumKeys.FromString(session.keys).weight,
            width_of(session.bits, circle.weights),
        )
        update = self._gate.masked(session.task_id, masking)
        outcome.update_digest, outcome.update_size = bytes.fromhex(update.digest), update.size
        if outcome.statistics:
            self._vouch(outcome, circle.digest)
        self._signing.sign_update(outcome)  # what is under the mask was signed, and is another
        report = reports.of_outcome(outcome, session.approved_by)
        self._book.move_task(session.task_id, TaskStage.RELEASED, report)
        self._audit.record(
            "round_released", task=session.task_id, job=session.job_id, bits=outcome.leakage_bits
        )

    def _vouch(self, outcome: job_pb2.TaskOutcome, roster: bytes) -> None:
        """Sign protocol, roster and masked counts of a test together: they are of one sum."""
        said = job_pb2.EvaluationStatistics.FromString(outcome.statistics)
        said.summed.roster_digest, said.summed.masked_digest = roster, outcome.update_digest
        said.summed.sum_key = self._identity.public_key().public_bytes_raw()
        outcome.statistics = said.SerializeToString(deterministic=True)
        outcome.statistics_key, outcome.statistics_signature = self._signing.sign(
            outcome.task_id, outcome.statistics
        )

    def _consent(self, session: Session, survivors: SumSurvivors) -> None:
        raw = survivors.SerializeToString(deterministic=True)
        if session.stage in (SumStage.CONSENTED, SumStage.UNMASKED) and session.survivors != raw:
            self._notice(session, Rule.SURVIVORS_DIFFER)
            return
        if session.stage is SumStage.CONSENTED:
            self._repeat(session, "consent")
        if session.stage is not SumStage.MASKED:
            return
        self._statement(session, survivors)
        session = replace(session, stage=SumStage.CONSENTED, survivors=raw)
        if self._sessions.move(session, SumStage.MASKED):
            self._repeat(session, "consent")

    def _unmask(self, session: Session, transcript: SumTranscript) -> None:
        raw = transcript.survivors.SerializeToString(deterministic=True)
        if session.stage is SumStage.UNMASKED and session.survivors == raw:
            self._book.repeat(reports.SUM, _subject(session, "unmasking"))
            return
        if session.stage in (SumStage.CONSENTED, SumStage.UNMASKED) and session.survivors != raw:
            self._notice(session, Rule.SURVIVORS_DIFFER)
            return
        if session.stage is not SumStage.CONSENTED:
            return
        circle = self._circle(session)
        statement = self._statement(session, transcript.survivors)
        circle.verify(transcript, statement, self._pinned())
        held = circle.opened(SumShares.FromString(session.held))
        said = circle.unmask(transcript.survivors.sites, held)
        # The report is durable first: with the secrets gone, nobody could make it again.
        self._book.report(_report(session, "unmasking", SumReport(unmasking=said)))
        self._sessions.move(replace(session, stage=SumStage.UNMASKED), SumStage.CONSENTED)
        self._audit.record(
            "sum_unmasked", task=session.task_id, roster=circle.digest.hex(),
            survivors=len(transcript.survivors.sites), of=len(circle.keys),
        )  # fmt: skip

    # What the steps share

    @property
    def _terms(self) -> SecureSums:
        return self._policy().jobs.sums

    def _pinned(self) -> dict[str, bytes]:
        return self._terms.pinned() | {self._site: self._identity.public_key().public_bytes_raw()}

    def _circle(self, session: Session, roster: SumRoster | None = None) -> Circle:
        """Check a roster against the policy as it is now: a key may have been struck out since."""
        return admit(
            SumContext(session.job_id, session.round, session.bundle, session.weights),
            SumRoster.FromString(session.roster) if roster is None else roster,
            SumKeys.FromString(session.keys),
            Secrets.read(session.secrets),
            self._pinned(),
            self._terms.roster_at_least,
        )

    def _statement(self, session: Session, survivors: SumSurvivors) -> bytes:
        circle = self._circle(session)
        dealers = [*circle.opened(SumShares.FromString(session.held))]
        least = self._terms.survivors_at_least
        return circle.statement(survivors.sites, dealers, least)

    def _repeat(self, session: Session, step: str) -> None:
        """Say what this hospital said at a step, made again from what it kept."""
        if step == "shares":
            said = SumReport(shares=SumShares.FromString(session.dealt))
        else:
            statement = self._statement(session, SumSurvivors.FromString(session.survivors))
            said = SumReport(consent=consent(statement, self._identity))
        report = _report(session, step, said)
        self._book.report(report)
        self._book.repeat(report.kind, report.subject)

    def _refuse(self, session: Session, rule: Rule) -> None:
        """Take no further part: nothing more of this round leaves, and the coordinator is told."""
        ended = replace(session, stage=SumStage.ENDED, rule=rule)
        if not self._sessions.move(ended, session.stage):
            return
        self._notice(session, rule)
        self._book.report(_report(session, "refusal", SumReport(refusal=rule)))
        task = self._book.task(session.task_id)
        if task is not None and task.stage is TaskStage.SUMMING:
            report = reports.of_state(session.task_id, job_pb2.TASK_STATE_REFUSED, rule)
            self._book.move_task(session.task_id, TaskStage.REFUSED, report, rule)

    def _notice(self, session: Session, rule: Rule) -> None:
        self._audit.record("sum_refused", task=session.task_id, job=session.job_id, rule=rule)

    def _forget_others(self, task: job_pb2.RoundTask) -> None:
        """End the job's earlier sums: the coordinator has gone on without them."""
        for session in self._sessions.open_sessions():
            if session.job_id == task.job_id and session.round < task.round:
                self.give_up(session.task_id)


def _subject(session: Session, step: str) -> str:
    return f"{session.task_id}/{step}"


def _report(session: Session, step: str, said: SumReport) -> Report:
    said.task_id = session.task_id
    return reports.of_sum(said, _subject(session, step), session.approved_by)
