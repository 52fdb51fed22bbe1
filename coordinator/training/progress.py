"""Rounds as they are looked at: each hospital's newest word and figures, a round at a time.

A round that was folded changes only by reports that came too late: its figures are kept a while.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from coordinator.model import RoundRecord, TaskRecord
from coordinator.store.rounds import Rounds
from protos.v1.job_pb2 import ScoreHistogram, TaskOutcome, TaskState

AUC, WEIGHT = "auc", "weight"  # measures of every round; the others are the manifest's metrics
POINTS_KEPT = 100_000  # some 40 MB
LATE_SECONDS = 60.0  # so long a late report may stay unseen
OPEN_SECONDS = 0.5  # many who look on at once cost one look
LOOK_SECONDS = 0.08  # in one request, over rounds that nobody has looked at yet

ENDS = frozenset({"released", "withheld", "failed", "refused"})

SiteAuc = Callable[[ScoreHistogram], float | None]


@dataclass(frozen=True, slots=True)
class Point:
    """One hospital's part in one round."""

    site: str
    state: str  # as the treaty's TaskState, in small letters
    code: str
    auc: float | None
    weight: float
    bits: float  # negative: no leakage bound
    metrics: Mapping[str, float]
    since: float | None

    def measure(self, name: str) -> float | None:
        if name == AUC:
            return self.auc
        if name == WEIGHT:
            return self.weight or None
        return self.metrics.get(name)


@dataclass(frozen=True, slots=True)
class RoundFigures:
    number: int
    evaluate_only: bool
    deadline: float
    closed_at: float | None
    points: tuple[Point, ...]  # by hospital

    @property
    def is_final(self) -> bool:
        return all(point.state in ENDS for point in self.points)

    def ends(self) -> Mapping[tuple[str, str], int]:
        """Count hospitals by state and code: nobody goes missing."""
        return Counter((point.state, point.code) for point in self.points)


class Progress:
    def __init__(self, rounds: Rounds, site_auc: SiteAuc) -> None:
        self._rounds = rounds
        self._site_auc = site_auc
        self._kept: OrderedDict[tuple[str, int], tuple[float, RoundFigures]] = OrderedDict()
        self._points = 0

    async def rounds(self, job_id: str) -> Sequence[RoundRecord]:
        return await self._rounds.all(job_id)

    async def figures(self, record: RoundRecord) -> RoundFigures:
        key = record.job_id, record.number
        made_at, held = self._kept.get(key, (0.0, None))
        if held is not None and time.monotonic() - made_at < _lasts(record, held):
            self._kept.move_to_end(key)
            return held
        tasks = await self._rounds.tasks(record.job_id, record.number)
        made = await asyncio.to_thread(self._make, record, tasks)
        self._keep(key, made)
        return made

    async def stretch(
        self, records: Sequence[RoundRecord], seconds: float = LOOK_SECONDS
    ) -> list[RoundFigures]:
        """Return the figures of the first rounds: at least one, and what a moment suffices for."""
        until, found = time.monotonic() + seconds, []
        for record in records:
            found.append(await self.figures(record))
            if time.monotonic() > until:
                break
        return found

    def _keep(self, key: tuple[str, int], made: RoundFigures) -> None:
        _, before = self._kept.get(key, (0.0, None))
        self._points += len(made.points) - (len(before.points) if before else 0)
        self._kept[key] = time.monotonic(), made
        while self._points > POINTS_KEPT and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._points -= len(dropped.points)

    def _make(self, record: RoundRecord, tasks: Sequence[TaskRecord]) -> RoundFigures:
        return RoundFigures(
            record.number,
            record.evaluate_only,
            record.deadline,
            record.closed_at,
            tuple(self._point(task) for task in tasks),
        )

    def _point(self, task: TaskRecord) -> Point:
        outcome = TaskOutcome.FromString(task.outcome)
        state = outcome.state or TaskState.TASK_STATE_QUEUED
        auc = self._site_auc(outcome.validation) if outcome.HasField("validation") else None
        return Point(
            site=task.site,
            state=TaskState.Name(state).removeprefix("TASK_STATE_").lower(),
            code=outcome.code,
            auc=auc,
            weight=outcome.weight,
            bits=outcome.leakage_bits,
            metrics={metric.name: metric.value for metric in outcome.metrics},
            since=task.reported_at,
        )


def _lasts(record: RoundRecord, made: RoundFigures) -> float:
    """Say for how many seconds what was made of a round stands."""
    if not record.folded:
        return OPEN_SECONDS if made.closed_at == record.closed_at else 0.0
    return inf if made.is_final else LATE_SECONDS
