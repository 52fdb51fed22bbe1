"""What the pages of jobs show, read from the coordinator's own rooms on behalf of a caller."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from coordinator.console.job_shown import (
    CodeShown,
    JobLine,
    JobList,
    JobShown,
    RoundLine,
    SiteRow,
    Standing,
)
from coordinator.errors import InvalidRequest
from coordinator.jobs.desk import JobDesk
from coordinator.jobs.dossier import Dossiers, compare
from coordinator.jobs.slip import ReviewSlip
from coordinator.model import OVER, Caller, JobRecord, JobSiteRecord, JobStage, Pooled, RoundRecord
from coordinator.registry.roll import Roll
from coordinator.store.jobs import Wanted
from coordinator.store.rounds import Rounds
from coordinator.training.progress import AUC, WEIGHT, Progress, RoundFigures
from protos.manifest import Project
from protos.v1.job_pb2 import Decision, JobKind, JobTerms

PAGE = 25
ROUNDS_SHOWN = 20  # the newest; the curves have all
LINES_SECONDS = 0.04  # for those of them that nobody has looked at yet
KINDS = {
    name.removeprefix("JOB_KIND_").lower(): number
    for name, number in JobKind.items()
    if number != JobKind.JOB_KIND_UNSPECIFIED
}
DECISIONS = {0: "undecided"} | {
    number: name.removeprefix("DECISION_").lower()
    for name, number in Decision.items()
    if number != Decision.DECISION_UNSPECIFIED
}


class JobBoard:
    def __init__(
        self, desk: JobDesk, rounds: Rounds, progress: Progress, dossiers: Dossiers, roll: Roll
    ) -> None:
        self._desk = desk
        self._rounds = rounds
        self._progress = progress
        self._dossiers = dossiers
        self._roll = roll

    async def jobs(self, wanted: Wanted, by: Caller) -> JobList:
        found = await self._desk.page(wanted, by, PAGE + 1)
        lines = [await self.line(record) for record in found[:PAGE]]
        last = found[PAGE - 1] if len(found) > PAGE else None
        return JobList(lines, await self._desk.by_stage(by), _place(last) if last else "")

    async def show(self, job_id: str, by: Caller, number: int = 0) -> JobShown:
        record = await self._desk.visible(job_id, by)
        standing = await self.standing(record, number, lines=ROUNDS_SHOWN)
        offer, reviews = await self._desk.reviewed(record)
        dossier = await self._dossiers.checked(record.bundle_digest)
        return JobShown(
            standing=standing,
            offer=offer,
            submitted_by=record.submitted_by,
            quorum=record.quorum,
            dossier=dossier,
            reviews=reviews,
            project=self._project(offer.terms.project),
            measures=(AUC, *(spec.name for spec in dossier.manifest.metrics), WEIGHT),
        )

    async def visible(self, job_id: str, by: Caller) -> JobRecord:
        return await self._desk.visible(job_id, by)

    async def sites(self, record: JobRecord) -> Sequence[JobSiteRecord]:
        return await self._desk.sites(record.job_id)

    async def standing(self, record: JobRecord, number: int = 0, lines: int = 2) -> Standing:
        """Return how a job stands, in its newest round or in another.

        Two lines of rounds suffice for whoever looks on: a round may just have ended.
        """
        all_ = await self._progress.rounds(record.job_id)
        wanted = [each for each in all_ if not number or each.number == number]
        newest = wanted[-1] if wanted else None
        figures = await self._progress.figures(newest) if newest else None
        sites = _sites(await self._desk.sites(record.job_id), figures)
        return Standing(
            await self.line(record),
            newest,
            sites,
            Counter(each.state for each in sites),
            await self._round_lines(all_[-lines:]),
            len(all_),
        )

    async def code(self, job_id: str, by: Caller) -> CodeShown:
        record = await self._desk.visible(job_id, by)
        now = await self._dossiers.checked(record.bundle_digest)
        earlier = await self._desk.approved_before(record, by)
        before, changes = None, None
        if earlier is not None:
            before = await self.line(earlier)
            was = await self._dossiers.checked(earlier.bundle_digest)
            changes = await asyncio.to_thread(compare, was, now)
        return CodeShown(await self.line(record), record.bundle_digest.hex(), now, before, changes)

    async def curves(self, job_id: str, by: Caller, measure: str, after: int) -> dict[str, Any]:
        """Return some rounds of one measure, a number for each hospital; `more` if not the last."""
        record = await self._desk.visible(job_id, by)
        sites = [part.site for part in await self._desk.sites(record.job_id)]
        all_ = await self._progress.rounds(record.job_id)
        wanted = [each for each in all_ if each.number > after]
        found = await self._progress.stretch(wanted)
        return {
            "sites": sites,
            "rounds": [_curve(each, sites, measure) for each in found],
            "pooled": [
                [one.round, one.auc, one.low, one.high]
                for one in (await self._rounds.pooled(record.job_id) if measure == AUC else ())
            ],
            "more": len(found) < len(wanted),
        }

    def projects(self, by: Caller) -> list[Project]:
        """List the projects on whose behalf somebody may submit."""
        manifest = self._roll.manifest
        return [
            project
            for project in (manifest.projects if manifest else ())
            if not by.organisation or by.organisation in project.organisations
        ]

    async def review(self, job_id: str, slip: ReviewSlip, by: Caller) -> tuple[int, int]:
        """Take a signed review; return how many count, and how many are needed."""
        if slip.review is None:
            raise InvalidRequest("this review is not signed yet: `radfed job sign` signs it")
        if slip.offer.job_id != job_id:
            raise InvalidRequest("this review is of another job")
        return await self._desk.review(job_id, slip.review, by)

    async def stop(self, job_id: str, by: Caller) -> bool:
        """Stop a job; False where it was over already."""
        record = await self._desk.visible(job_id, by)
        if record.stage in OVER:
            return False
        await self._desk.stop(job_id, by)
        return True

    async def line(self, record: JobRecord) -> JobLine:
        reviewing = record.stage is JobStage.IN_REVIEW
        missing = (await self._desk.reviewed(record))[1].missing if reviewing else 0
        manifest = self._roll.manifest
        signer = manifest.signer(record.vendor_key) if manifest else None
        return JobLine(
            job_id=record.job_id,
            name=record.name,
            kind=JobKind.Name(record.kind).removeprefix("JOB_KIND_").lower(),  # type: ignore[arg-type]  # the enum's number
            stage=str(record.stage),
            round=min(record.round, record.rounds),
            rounds=record.rounds,
            vendor=signer.organisation if signer else record.organisation,
            project=JobTerms.FromString(record.terms).project,
            submitted_at=record.submitted_at,
            missing=missing,
            reason=record.reason,
        )

    async def _round_lines(self, records: Sequence[RoundRecord]) -> list[RoundLine]:
        """Describe rounds, the newest first; one that takes long to read waits for its turn."""
        if not records:
            return []
        pooled = {each.round: each for each in await self._rounds.pooled(records[0].job_id)}
        newest_first = list(reversed(records))
        figures = await self._progress.stretch(newest_first, LINES_SECONDS)
        return [_round_line(each, pooled.get(each.number)) for each in figures]

    def _project(self, name: str) -> Project | None:
        manifest = self._roll.manifest
        return manifest.project(name) if manifest else None


def wanted_of(stage: str, kind: str, name: str, place: str) -> Wanted:
    """Read what an address bar asks for; what it cannot mean is not looked for."""
    return Wanted(
        stage if stage in set(JobStage) else "", KINDS.get(kind, 0), name.lower(), _read(place)
    )


def _place(record: JobRecord) -> str:
    return f"{record.submitted_at!r}.{record.job_id}"


def _read(place: str) -> tuple[float, str] | None:
    if not place:
        return None
    at, _dot, job_id = place.rpartition(".")
    try:
        return float(at), job_id
    except ValueError as fault:
        raise InvalidRequest("this is no place in the list of jobs: begin it anew") from fault


def _sites(decided: Sequence[JobSiteRecord], figures: RoundFigures | None) -> list[SiteRow]:
    points = {point.site: point for point in figures.points} if figures else {}
    return [
        SiteRow(part.site, DECISIONS.get(part.decision, "undecided"), part.rule,
                points.get(part.site))
        for part in decided
    ]  # fmt: skip


def _round_line(figures: RoundFigures, pooled: Pooled | None) -> RoundLine:
    ends = figures.ends()
    states: Counter[str] = Counter()
    for (state, _), count in ends.items():
        states[state] += count
    return RoundLine(
        figures.number,
        figures.evaluate_only,
        figures.closed_at is None,
        states,
        {key: count for key, count in ends.items() if key[1]},
        pooled,
    )


def _curve(figures: RoundFigures, sites: Sequence[str], measure: str) -> list[Any]:
    """Return a round's number and one figure for each hospital, in the order of `sites`."""
    points = {point.site: point.measure(measure) for point in figures.points}
    found = [points.get(site) for site in sites]
    return [figures.number, [None if one is None else round(one, 4) for one in found]]
