"""The request line: what the coordinator asks is taken durably, worked off, and reported."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Protocol

import structlog

from gateway.audit import AuditTrail
from gateway.desk.book import Book, Report
from gateway.desk.objects import Objects, Wanted
from gateway.desk.offers import Approval, Offers
from gateway.desk.questions import Answering, Questions
from gateway.desk.rules import Refusal
from gateway.desk.signers import Signers
from gateway.desk.ticks import TICK_SECONDS
from gateway.policy import Policy
from protos.job_manifest import JobManifest, MetricSpec
from protos.v1 import job_pb2, question_pb2, sum_pb2

POLL_SECONDS = 0.5  # a steward's command writes from another process
AFTER_FAULT_SECONDS = 2.0

log = structlog.get_logger()


class SumDesk(Protocol):
    """What takes part in secure sums."""

    def take(self, call: sum_pb2.SumCall) -> None: ...
    def work(self) -> bool: ...


class RoundDesk(Protocol):
    """What runs rounds; a gateway without a sandbox has one that refuses them."""

    @property
    def can_run(self) -> bool: ...
    def lacks(self, manifest: JobManifest) -> Refusal | None: ...
    def take(self, task: job_pb2.RoundTask) -> None: ...
    def wanted(self) -> list[Wanted]: ...
    def work(self, stop: Event) -> bool: ...
    def cancel(self, job_id: str) -> None: ...
    @property
    def sums(self) -> SumDesk: ...
    def end_idle_sums(self) -> None: ...
    def declared_metrics(self, task_id: str) -> tuple[MetricSpec, ...]: ...
    def declared_names(self, task_id: str) -> frozenset[str]: ...


class Desk:
    """Everything here may be called from any thread, and repeated: a repeat changes nothing."""

    def __init__(
        self,
        book: Book,
        objects: Objects,
        policy: Callable[[], Policy],
        audit: AuditTrail,
        answers: Answering,
        rounds: RoundDesk,
        signers: Signers,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        tick: float = TICK_SECONDS,
    ) -> None:
        self._book = book
        self._objects = objects
        self._audit = audit
        self._signers = signers
        self._questions = Questions(book, answers, audit, signers, now, tick)
        self._offers = Offers(
            book,
            objects,
            policy,
            audit,
            signers,
            lambda: rounds.can_run,
            rounds.lacks,
        )
        self._rounds = rounds
        # Each is for one who waits: a question wakes nobody but whoever answers questions.
        self._to_answer, self._to_do, self._to_send = Event(), Event(), Event()
        self._to_sum = Event()
        self._to_move = Event()  # a large object is wanted, or may go

    @property
    def objects(self) -> Objects:
        return self._objects

    # What the link brings

    def take_question(self, question: question_pb2.Question) -> None:
        is_new = self._questions.take(question)
        (self._to_answer if is_new else self._to_send).set()

    def take_offer(self, offer: job_pb2.JobOffer) -> None:
        self._offers.take(offer)
        self._tell()

    def take_task(self, task: job_pb2.RoundTask) -> None:
        self._rounds.take(task)
        self._tell()

    def take_sum(self, call: sum_pb2.SumCall) -> None:
        self._rounds.sums.take(call)
        self._to_sum.set()

    def withdraw(self, job_id: str) -> None:
        """End a job: nothing new of it starts, and what runs is stopped at once."""
        self._offers.withdraw(job_id)
        self._rounds.cancel(job_id)
        self._tell()

    def take_manifest(self, raw: bytes) -> None:
        self._signers.take_manifest(raw)

    def settled(self, report_id: str) -> None:
        self._book.settle(report_id)

    def arrived(self, digest: bytes) -> None:
        log.info("object_arrived", digest=digest.hex()[:16])
        self._tell()

    def pushed(self) -> None:
        """Take note that an update is there whole: its report may follow at once."""
        self._to_send.set()

    # What the link takes away

    def manifest_version(self) -> int:
        return self._signers.manifest_version()

    def outbox(self) -> list[Report]:
        """Return what the coordinator has not settled yet, oldest first."""
        return self._book.outbox()

    def wanted(self) -> list[Wanted]:
        """Return the objects without which work stands still."""
        return self._offers.wanted() + self._rounds.wanted()

    def declared_metrics(self, task_id: str) -> tuple[MetricSpec, ...]:
        return self._rounds.declared_metrics(task_id)

    def declared_names(self, task_id: str) -> frozenset[str]:
        return self._rounds.declared_names(task_id)

    def kept_in(self, report: Report, code: str) -> None:
        """Take a report back that the gate does not let out."""
        self._book.settle(report.report_id)
        self._audit.record("gate_kept_in", kind=report.kind, subject=report.subject, code=code)

    def wait_for_news(self, seconds: float) -> None:
        """Return when there may be something to send, at the latest after so long."""
        self._to_send.wait(seconds)
        self._to_send.clear()

    def wait_for_objects(self, seconds: float) -> None:
        """Return when there may be an object to move, at the latest after so long."""
        self._to_move.wait(seconds)
        self._to_move.clear()

    # What the steward does

    def approvals(self) -> list[Approval]:
        return self._offers.approvals()

    def approval(self, job_id: str) -> Approval:
        return self._offers.approval(job_id)

    def code(self, job_id: str) -> dict[str, bytes]:
        return self._offers.code(job_id)

    def approve(self, job_id: str, by: str) -> None:
        self._offers.approve(job_id, by)
        self._tell()

    def reject(self, job_id: str, by: str, reason: str) -> None:
        self._offers.reject(job_id, by, reason)
        self._rounds.cancel(job_id)
        self._tell()

    # Work

    def run(self, stop: Event) -> None:
        """Work until `stop`: questions, offers and rounds, and sums each on a thread of its own."""
        works = (
            ("desk-questions", self._answer, self._to_answer, self._until_due),
            ("desk-jobs", self._job, self._to_do, lambda: POLL_SECONDS),
            ("desk-sums", self._sum, self._to_sum, lambda: POLL_SECONDS),
        )
        workers = [
            Thread(target=self._loop, args=(work, news, pause, stop), name=name)
            for name, work, news, pause in works
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _answer(self, _stop: Event) -> bool:
        return self._questions.work()

    def _job(self, stop: Event) -> bool:
        self._offers.work()
        return self._rounds.work(stop)

    def _sum(self, _stop: Event) -> bool:
        busy = self._rounds.sums.work()
        if not busy:
            self._rounds.end_idle_sums()
        return busy

    def _until_due(self) -> float:
        """Return how long to sleep: an answer leaves at its tick."""
        due = self._questions.pause()
        return POLL_SECONDS if due is None else min(POLL_SECONDS, due)

    def _loop(
        self,
        work: Callable[[Event], bool],
        news: Event,
        pause: Callable[[], float],
        stop: Event,
    ) -> None:
        while not stop.is_set():
            news.clear()  # before the look: what comes after it is not slept through
            try:
                busy = work(stop)
            except Exception as fault:  # noqa: BLE001 - a worker is a door: its loop goes on
                # No text of an exception: it may quote a file.
                log.error("desk_fault", fault=type(fault).__name__)  # noqa: TRY400 - as above
                stop.wait(AFTER_FAULT_SECONDS)
                continue
            if busy:
                self._to_send.set()
                self._to_move.set()
            else:
                news.wait(pause())

    def _tell(self) -> None:
        """Wake whoever sees to jobs, and whoever sends what is decided."""
        self._to_do.set()
        self._to_send.set()
        self._to_move.set()
