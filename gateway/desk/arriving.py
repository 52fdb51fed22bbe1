"""Rounds as they arrive: remembered once, put off where the coordinator says so, never changed."""

from gateway.audit import AuditTrail
from gateway.desk.book import Book, TaskRow
from gateway.desk.chain import RoundChain
from gateway.desk.rules import moment
from gateway.release.rules import identifies_work
from protos.v1 import job_pb2

DIGEST_BYTES = 32


class Arriving:
    def __init__(self, book: Book, chain: RoundChain, audit: AuditTrail) -> None:
        self._book = book
        self._chain = chain
        self._audit = audit

    def take(self, task: job_pb2.RoundTask) -> None:
        """Remember a round; one that was taken before is reported as before."""
        sound = (
            identifies_work(task.task_id)
            and identifies_work(task.job_id)
            and len(task.weights_digest) in (0, DIGEST_BYTES)
            and moment(task.deadline) is not None
        )
        if not sound:
            self._audit.record("task_malformed")
            return
        body = task.SerializeToString(deterministic=True)
        if self._book.take_task(task.task_id, task.job_id, task.round, body):
            self._chain.hear(task)
        else:
            self._put_off(task)
            self._book.repeat("outcome", task.task_id)

    def _put_off(self, task: job_pb2.RoundTask) -> None:
        """Take a later deadline for work that is known: the coordinator was away meanwhile.

        Nothing else of the work changes, whatever the repeat says.
        """
        row = self._book.task(task.task_id)
        if row is None or not task.HasField("deadline"):
            return
        known = task_of(row)
        if known.HasField("deadline") and _later(task, known):
            known.deadline.CopyFrom(task.deadline)
            self._book.put_off(task.task_id, known.SerializeToString(deterministic=True))


def task_of(row: TaskRow) -> job_pb2.RoundTask:
    return job_pb2.RoundTask.FromString(row.body)


def _later(task: job_pb2.RoundTask, known: job_pb2.RoundTask) -> bool:
    return task.deadline.ToNanoseconds() > known.deadline.ToNanoseconds()
