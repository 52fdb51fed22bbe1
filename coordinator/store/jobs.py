"""The SQL of jobs and what hospitals decided on them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select, update

from coordinator.model import OVER, JobRecord, JobSiteRecord, JobStage
from coordinator.store.database import Database
from coordinator.store.tables import job, job_site, review
from protos.v1.job_pb2 import Decision, Review

WITHDRAWALS_AT_MOST = 100  # of the newest, on each connection
REASON_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs are looked for; empty: any. `before` is where the last page ended."""

    stage: str = ""
    kind: int = 0
    name: str = ""  # a part of it
    before: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """Whose jobs are seen by somebody who does not see all."""

    uri: str
    organisation: str


class Jobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, record: JobRecord, sites: Iterable[str]) -> None:
        rows = [{"job_id": record.job_id, "site": site} for site in sites]
        async with self._database.writing() as connection:
            await connection.execute(insert(job).values(**asdict(record)))
            await connection.execute(insert(job_site), rows)

    async def get(self, job_id: str) -> JobRecord | None:
        found = await self._select(job.c.job_id == job_id)
        return found[0] if found else None

    async def all(self) -> list[JobRecord]:
        return await self._select()

    async def page(self, wanted: Wanted, of: Party | None, at_most: int) -> list[JobRecord]:
        """Return the newest of the wanted jobs; None as a party means everybody's."""
        newest = job.c.submitted_at.desc(), job.c.job_id.desc()
        # Ids first: the terms of thousands of jobs need not be read to sort them.
        chosen = (
            select(job.c.job_id).where(*_wanted(wanted), *_of(of)).order_by(*newest).limit(at_most)
        )
        query = select(job).where(job.c.job_id.in_(chosen)).order_by(*newest)
        async with self._database.reading() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def by_stage(self, of: Party | None) -> Mapping[str, int]:
        """Count a party's jobs by stage."""
        query = select(job.c.stage, func.count()).where(*_of(of)).group_by(job.c.stage)
        async with self._database.reading() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def approved_before(self, record: JobRecord) -> JobRecord | None:
        """Return the vendor's last other bundle of this name that reviewers had approved."""
        same_vendor = job.c.vendor_key == record.vendor_key
        if record.organisation:
            same_vendor = or_(same_vendor, job.c.organisation == record.organisation)
        found = await self._select(
            job.c.name == record.name,
            same_vendor,
            job.c.bundle_digest != record.bundle_digest,
            job.c.offered_at.is_not(None),
            job.c.submitted_at < record.submitted_at,
            at_most=1,
        )
        return found[0] if found else None

    async def unfinished(self) -> list[JobRecord]:
        return await self._select(job.c.stage.not_in(OVER))

    async def offers(self, site: str) -> list[JobRecord]:
        """Return what a site has still to decide on."""
        open_ = job.c.stage.not_in({*OVER, JobStage.IN_REVIEW})
        return await self._select_for(site, open_, job_site.c.decision == 0)

    async def ended(self, site: str) -> list[JobRecord]:
        """Return the newest jobs a site approved that are over."""
        approved = job_site.c.decision == Decision.DECISION_APPROVED
        found = await self._select_for(site, job.c.stage.in_(OVER), approved)
        return found[:WITHDRAWALS_AT_MOST]

    async def sites(self, job_id: str) -> list[JobSiteRecord]:
        query = (
            select(job_site.c.site, job_site.c.decision, job_site.c.rule)
            .where(job_site.c.job_id == job_id)
            .order_by(job_site.c.site)
        )
        async with self._database.reading() as connection:
            return [JobSiteRecord(*row) for row in await connection.execute(query)]

    async def decide(self, job_id: str, site: str, decision: int, rule: str, now: float) -> bool:
        """Store a hospital's newest decision; False where it was not offered the job."""
        async with self._database.writing() as connection:
            stored = await connection.execute(
                update(job_site)
                .where(job_site.c.job_id == job_id, job_site.c.site == site)
                .values(decision=decision, rule=rule, decided_at=now)
            )
            return stored.rowcount == 1

    async def review(self, job_id: str, public_key: bytes, signature: bytes, now: float) -> None:
        """Store a reviewer's signature; a newer one of the same key replaces it."""
        values = {"signature": signature, "reviewed_at": now}
        added = self._database.upsert(review).values(job_id=job_id, public_key=public_key, **values)
        async with self._database.writing() as connection:
            await connection.execute(
                added.on_conflict_do_update(index_elements=["job_id", "public_key"], set_=values)
            )

    async def reviews(self, job_id: str) -> list[Review]:
        query = (
            select(review.c.public_key, review.c.signature)
            .where(review.c.job_id == job_id)
            .order_by(review.c.public_key)
        )
        async with self._database.reading() as connection:
            return [
                Review(public_key=row.public_key, signature=row.signature)
                for row in await connection.execute(query)
            ]

    async def offer(self, job_id: str, now: float) -> bool:
        """Put a reviewed job before hospitals; False where it was before."""
        async with self._database.writing() as connection:
            moved = await connection.execute(
                update(job)
                .where(job.c.job_id == job_id, job.c.stage == JobStage.IN_REVIEW)
                .values(stage=JobStage.OFFERED, offered_at=now)
            )
            return moved.rowcount == 1

    async def end(self, job_id: str, stage: JobStage, reason: str) -> bool:
        """End a job; False where it was over already."""
        async with self._database.writing() as connection:
            ended = await connection.execute(
                update(job)
                .where(job.c.job_id == job_id, job.c.stage.not_in(OVER))
                .values(stage=stage, reason=reason[:REASON_LENGTH])
            )
            return ended.rowcount == 1

    async def _select(
        self, *conditions: ColumnElement[bool], at_most: int | None = None
    ) -> list[JobRecord]:
        query = select(job).where(*conditions).order_by(job.c.submitted_at.desc()).limit(at_most)
        async with self._database.reading() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def _select_for(self, site: str, *conditions: ColumnElement[bool]) -> list[JobRecord]:
        query = (
            select(job)
            .join(job_site, job_site.c.job_id == job.c.job_id)
            .where(job_site.c.site == site, *conditions)
            .order_by(job.c.submitted_at.desc())
        )
        async with self._database.reading() as connection:
            return [_record(row) for row in await connection.execute(query)]


def _wanted(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.stage:
        found.append(job.c.stage == wanted.stage)
    if wanted.kind:
        found.append(job.c.kind == wanted.kind)
    if wanted.name:
        found.append(job.c.name.contains(wanted.name, autoescape=True))
    if wanted.before is not None:
        at, job_id = wanted.before
        earlier = and_(job.c.submitted_at == at, job.c.job_id < job_id)
        found.append(or_(job.c.submitted_at < at, earlier))
    return found


def _of(party: Party | None) -> list[ColumnElement[bool]]:
    if party is None:
        return []
    own = job.c.submitted_by == party.uri
    if not party.organisation:
        return [own]
    return [or_(own, job.c.organisation == party.organisation)]


def _record(row: Row[*tuple[object, ...]]) -> JobRecord:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return JobRecord(**fields | {"stage": JobStage(fields["stage"])})
