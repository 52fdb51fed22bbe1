"""What a closed round becomes: files in, files out, off the loop."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coordinator.model import JobRecord, RoundRecord
from coordinator.store.objects import Objects
from coordinator.training.outcomes import brings_update
from coordinator.training.sums import Model
from protos.training import TrainingPlan, plan_of
from protos.v1.job_pb2 import ScoreHistogram, TaskOutcome

Updates = Sequence[tuple[Path, float]]


class Fold(Protocol):
    """Makes the next model of updates, by a plan; reads and writes files, by pieces."""

    def __call__(
        self,
        plan: TrainingPlan,
        before: Model,
        updates: Updates,
        after: Model,
        job_id: str,
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


class Folding:
    def __init__(self, objects: Objects, sums: Sums) -> None:
        self._objects = objects
        self._sums = sums

    async def pool(
        self, histograms: Sequence[ScoreHistogram]
    ) -> tuple[float | None, float | None, float | None]:
        return await asyncio.to_thread(self._sums.pool, histograms)

    async def is_sound(self, outcome: TaskOutcome, record: RoundRecord) -> bool:
        if not brings_update(outcome) or outcome.weight <= 0:
            return False
        weights, update = (
            self._objects.path(digest) for digest in (record.weights_digest, outcome.update_digest)
        )
        return await asyncio.to_thread(self._sums.sound, weights, update)

    def updates_of(self, outcomes: Sequence[TaskOutcome]) -> Updates:
        """Return where the updates lie, and what each weighs."""
        return [(self._objects.path(said.update_digest), said.weight) for said in outcomes]

    async def fold(
        self, job: JobRecord, record: RoundRecord, updates: Updates
    ) -> tuple[bytes, int, bytes]:
        """Return the next weights' digest and length, and the digest of the server's next state.

        Both are stored before they are named: whoever folds again finds the same bytes. Of no
        update the model stays as it was.
        """
        if not updates:
            return record.weights_digest, record.weights_size, record.state_digest
        return await asyncio.to_thread(self._fold, job, record, updates)

    async def forget_state(self, record: RoundRecord, following: RoundRecord | None) -> None:
        """Drop what the server remembered before a round: nothing is made of it any more."""
        if following is None or record.state_digest != following.state_digest:
            await self.forget_states([record.state_digest])

    async def forget_states(self, digests: Iterable[bytes]) -> None:
        """Drop what servers remembered, as far as it is there still."""
        for digest in filter(None, digests):
            with suppress(OSError):
                await asyncio.to_thread(self._objects.path(digest).unlink)

    def _fold(
        self, job: JobRecord, record: RoundRecord, updates: Updates
    ) -> tuple[bytes, int, bytes]:
        plan, name = plan_of(job.plan), f"{job.job_id}-{record.number}"
        known = self._objects.path(record.state_digest) if record.state_digest else None
        before = Model(self._objects.path(record.weights_digest), known)
        state = self._objects.scratch(f"{name}-state") if plan.is_adaptive else None
        after = Model(self._objects.scratch(name), state)
        try:
            self._sums.fold(plan, before, updates, after, job.job_id)
        except Exception:
            for begun in filter(None, (after.weights, after.state)):
                begun.unlink(missing_ok=True)
            raise
        size = after.weights.stat().st_size
        kept = b"" if after.state is None else self._objects.adopt(after.state)
        return self._objects.adopt(after.weights), size, kept
