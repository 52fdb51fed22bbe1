"""What each hospital is handed of a round: its task, and the signed story of the rounds before."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
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
        return self._told(job, record, accepted, weights_after, before)

    async def complete(self, job: JobRecord) -> None:
        """Tell the rounds that an older coordinator folded and did not sign."""
        told = {each.round: each for each in await self._rounds.transcripts(job.job_id)}
        for its, following in pairwise(await self._rounds.all(job.job_id)):
            if its.number not in told:
                tasks = await self._rounds.tasks(job.job_id, its.number)
                accepted = [task for task in tasks if task.accepted]
                before = told.get(its.number - 1)
                made = self._told(job, its, accepted, following.weights_digest, before)
                await self._rounds.tell(made)
                told[its.number] = made

    def _told(
        self,
        job: JobRecord,
        record: RoundRecord,
        accepted: Sequence[TaskRecord],
        weights_after: bytes,
        before: RoundTranscript | None,
    ) -> RoundTranscript:
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
        """Return each hospital's task, with the story so far and the parts of its own last round.

        All of the story: what a hospital keeps of it may be less than it was told, after a restore.
        """
        only = tasks[0].site if len(tasks) == 1 else None  # one of a fleet that reconnects
        last = await self._rounds.former_parts(record.job_id, record.number, only)
        first = max(1, record.number - AT_MOST)
        told = await self._rounds.transcripts(record.job_id, first) if record.number > 1 else []
        told = [each for each in told if each.round < record.number]
        parts = {0: list[bytes]()}
        for number in {each for each in last.values() if told and each >= told[0].round}:
            parts[number] = await self._parts(record.job_id, number)
        made = []
        for task in tasks:
            own = last.get(task.site, 0)
            own = own if DIGEST_BYTES * len(parts.get(own, ())) <= PARTS_BYTES else 0
            made.append((task.site, _task(task, record, told, parts.get(own, []), own)))
        return made

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
    parts: Sequence[bytes],
    parts_round: int,
) -> RoundTask:
    made = RoundTask(
        task_id=task.task_id,
        job_id=task.job_id,
        round=task.round,
        weights_digest=record.weights_digest,
        weights_size=record.weights_size,
        evaluate_only=record.evaluate_only,
        transcripts=told,
        parts=parts,
        parts_round=parts_round if parts else 0,
    )
    made.deadline.FromNanoseconds(int(record.deadline * 1e9))
    return made
