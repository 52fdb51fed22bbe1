"""Whether a round begins where the one before it ended: the coordinator's signed word, checked.

A hospital cannot add up what others released. It can hold the coordinator to one story: each round
is told once, under one key, from the weights that reviewers signed to those of the task at hand.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import pairwise

from gateway.audit import AuditTrail
from gateway.desk.book import Book, JobRow
from gateway.desk.rules import Refusal
from gateway.policy import Policy
from protos.digest import GENESIS
from protos.signatures import Distrust
from protos.transcripts import follows, is_sealed, link_of, part_of, parts_root
from protos.v1 import job_pb2


class ChainFault(StrEnum):
    """What is wrong with the story: for this hospital's own trail; one word of it leaves."""

    UNSIGNED = "unsigned"  # a later round, and no word on those before
    FORGED = "forged"  # not signed by the key it names
    OTHER_KEY = "other_key"  # than the rounds before
    OTHER_JOB = "other_job"  # or another bundle than was approved
    OTHER_START = "other_start"  # than the reviewers signed, or this hospital was given
    OTHER_WEIGHTS = "other_weights"  # than the last round is said to have made
    OTHER_PARTS = "other_parts"  # than were signed
    GAP = "gap"  # a round is missing
    BROKEN = "broken"  # one round does not begin where the last ended
    FORKED = "forked"  # a round that was told before is told otherwise


def judge(
    task: job_pb2.RoundTask,
    offer: job_pb2.JobOffer,
    kept: Sequence[job_pb2.RoundTranscript],
    started_from: bytes,
) -> ChainFault | None:
    """Compare what a task tells with itself, with the offer, and with what was told before."""
    told = task.transcripts
    if task.round == 1:
        return None
    if not told:
        return ChainFault.UNSIGNED
    first, known = told[0], {each.round: each for each in kept}
    joined = kept[-1].round + 1 if kept else 1
    starts = set(filter(None, (offer.terms.weights_digest, started_from)))
    broken = {
        ChainFault.FORGED: not all(is_sealed(e) for e in told if known.get(e.round) != e),
        ChainFault.OTHER_JOB: any(
            (each.job_id, each.bundle_digest) != (task.job_id, offer.bundle_digest) for each in told
        ),
        ChainFault.OTHER_KEY: bool(kept) and first.public_key != kept[0].public_key,
        ChainFault.FORKED: any(known.get(each.round, each) != each for each in told),
        ChainFault.GAP: first.round > joined or told[-1].round != task.round - 1,
        ChainFault.BROKEN: any(not follows(new, old) for old, new in pairwise(told))
        or (bool(kept) and first.round == joined and not follows(first, kept[-1])),
        ChainFault.OTHER_START: first.round == 1
        and (first.previous != GENESIS or not starts <= {first.weights_before}),
        ChainFault.OTHER_PARTS: bool(task.parts) and not _has_parts(task),
        ChainFault.OTHER_WEIGHTS: told[-1].weights_after != task.weights_digest,
    }
    return next((fault for fault, applies in broken.items() if applies), None)


def _has_parts(task: job_pb2.RoundTask) -> bool:
    said = (parts_root(task.parts), len(task.parts))
    of = next((told for told in task.transcripts if told.round == task.parts_round), None)
    return of is not None and said == (of.parts_root, of.parts)


class RoundChain:
    """Keeps what was told of each job's rounds, and holds every later task to it."""

    def __init__(self, book: Book, policy: Callable[[], Policy], audit: AuditTrail) -> None:
        self._book = book
        self._policy = policy
        self._audit = audit

    def hear(self, task: job_pb2.RoundTask) -> None:
        """Keep what a new task tells of the rounds before; what does not hold is audited."""
        job = self._book.job(task.job_id)
        if job is None or task.round == 1:
            return
        if (fault := self._fault(task, job)) is not None:
            if task.transcripts or self._policy().trust.signed_rounds:
                self._tell(task, fault)
            return
        self._book.keep_transcripts(
            task.job_id,
            [(each.round, each.SerializeToString(deterministic=True)) for each in task.transcripts],
        )
        self._look_for_own_part(task, job)

    def judge(self, task: job_pb2.RoundTask, job: JobRow) -> Refusal | None:
        if not self._policy().trust.signed_rounds:
            return None
        return None if self._fault(task, job) is None else Refusal(Distrust.CHAIN_BROKEN)

    def _fault(self, task: job_pb2.RoundTask, job: JobRow) -> ChainFault | None:
        kept = list(map(job_pb2.RoundTranscript.FromString, self._book.transcripts(job.job_id)))
        mine = (job_pb2.RoundTask.FromString(row.body) for row in self._book.tasks_of(job.job_id))
        started_from = next((each.weights_digest for each in mine if each.round == 1), b"")
        offer = job_pb2.JobOffer.FromString(job.offer)
        return judge(task, offer, kept, started_from)

    def _look_for_own_part(self, task: job_pb2.RoundTask, job: JobRow) -> None:
        """Note that an update is not in the sum: it came too late, or was left out."""
        tasks = self._book.tasks_of(job.job_id) if task.parts else []
        for row in (row for row in tasks if row.round == task.parts_round):
            body = self._book.last_report("outcome", row.task_id)
            said = job_pb2.TaskOutcome.FromString(body or b"")
            part = part_of(said.task_id, said.update_digest, said.weight)
            if said.update_digest and part not in task.parts:
                self._audit.record("update_left_out", job=job.job_id, round=row.round)

    def _tell(self, task: job_pb2.RoundTask, fault: ChainFault) -> None:
        told = task.transcripts[-1] if task.transcripts else None
        self._audit.record(
            "round_chain_broken",
            task=task.task_id,
            job=task.job_id,
            round=task.round,
            finding=fault,
            weights=task.weights_digest.hex(),
            told="" if told is None else told.weights_after.hex(),
            link="" if told is None else link_of(told).hex(),
        )
