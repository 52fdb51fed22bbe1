"""What each hospital is handed of a round: its task, and the signed story of the rounds before."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from coordinator.model import JobRecord, RoundRecord, TaskRecord
from coordinator.store.rounds import Rounds
from protos.transcripts import (
    AT_MOST,
    DIGEST_BYTES,
    link_of,
    part_of,
    parts_root,
    transcript_statement,
)
from protos.v1.job_pb2 import RoundTask, RoundTranscript, TaskOutcome

KNOWN_AT_MOST = 64
PARTS_BYTES = 24 << 10  # beside the transcripts, in a message of 64 KiB


class Signing(Protocol):
    """The coordinator's key for reports."""

    @property
    def public(self) -> bytes: ...
    def sign(self, statement: bytes) -> bytes: ...


class Handing:
    def __init__(self, rounds: Rounds, key: Signing) -> None:
        self._rounds = rounds
        self._key = key
        self._known: dict[tuple[str, int], list[bytes]] = {}

    async def transcript(
        self,
        job: JobRecord,
        record: RoundRecord,
        accepted: Sequence[TaskRecord],
        weights_after: bytes,
    ) -> RoundTranscript:
        """Sign what a round was; told twice, it is the same to the byte."""
        former = await self._rounds.transcripts(job.job_id, record.number - 1)
        before = next((each for each in former if each.round == record.number - 1), None)
        parts = parts_of(accepted)
        told = RoundTranscript(
            job_id=job.job_id,
            round=record.number,
            previous=link_of(before),
            bundle_digest=job.bundle_digest,
            weights_before=record.weights_digest,
            weights_after=weights_after,
            parts_root=parts_root(parts),
            parts=len(parts),
            public_key=self._key.public,
        )
        told.signature = self._key.sign(transcript_statement(told))
        return told

    async def tasks(
        self, record: RoundRecord, tasks: Sequence[TaskRecord]
    ) -> list[tuple[str, RoundTask]]:
        """Return each hospital's task, with what it has not heard of the rounds since its last."""
        only = tasks[0].site if len(tasks) == 1 else None  # one of a fleet that reconnects
        last = await self._rounds.former_parts(record.job_id, record.number, only)
        since = {task.site: last.get(task.site, 1) for task in tasks}
        first = min(since.values(), default=1)
        told = await self._rounds.transcripts(record.job_id, first) if record.number > 1 else []
        told = [each for each in told if each.round < record.number]
        parts = {
            number: await self._parts(record.job_id, number)
            for number in {since[task.site] for task in tasks if task.site in last}
        }
        return [
            (task.site, _task(task, record, told, since[task.site], parts, task.site in last))
            for task in tasks
        ]

    async def _parts(self, job_id: str, number: int) -> list[bytes]:
        """Return the marks of a round that is over: they change no more, and many ask for them."""
        if (known := self._known.get((job_id, number))) is None:
            tasks = await self._rounds.tasks(job_id, number)
            known = parts_of([task for task in tasks if task.accepted])
            while len(self._known) >= KNOWN_AT_MOST:
                del self._known[next(iter(self._known))]
            self._known[job_id, number] = known
        return known


def parts_of(accepted: Sequence[TaskRecord]) -> list[bytes]:
    """Return the marks of a round's updates, sorted: their order says nothing."""
    said = [TaskOutcome.FromString(task.outcome) for task in accepted]
    return sorted(part_of(each.task_id, each.update_digest, each.weight) for each in said)


def task_id_of(record: RoundRecord, site: str) -> str:
    """Name one hospital's part in one round: the same name, however often a round is opened."""
    return sha256(f"{record.job_id}/{record.number}/{site}".encode()).hexdigest()[:32]


def tasks_of(record: RoundRecord, sites: frozenset[str]) -> list[TaskRecord]:
    return [
        TaskRecord(task_id_of(record, site), record.job_id, record.number, site)
        for site in sorted(sites)
    ]


def _task(
    task: TaskRecord,
    record: RoundRecord,
    told: Sequence[RoundTranscript],
    since: int,
    parts: dict[int, list[bytes]],
    had_part: bool,  # noqa: FBT001 - of this module alone
) -> RoundTask:
    news = [each for each in told if each.round >= since][-AT_MOST:]
    known = parts[since] if had_part and news and news[0].round == since else []
    made = RoundTask(
        task_id=task.task_id,
        job_id=task.job_id,
        round=task.round,
        weights_digest=record.weights_digest,
        weights_size=record.weights_size,
        evaluate_only=record.evaluate_only,
        transcripts=news,
        parts=known if DIGEST_BYTES * len(known) <= PARTS_BYTES else [],
    )
    made.deadline.FromNanoseconds(int(record.deadline * 1e9))
    return made
