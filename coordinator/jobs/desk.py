"""The job desk: a vendor's bundle comes in, hospitals decide on it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from coordinator.audit import AuditTrail
from coordinator.errors import InvalidRequest, NotFound, Refused, TooLarge
from coordinator.jobs.bundles import Opened, open_bundle
from coordinator.jobs.reviews import Reviews, read_reviews
from coordinator.model import (
    Caller,
    Clock,
    Deliver,
    JobRecord,
    JobSiteRecord,
    JobStage,
    Offer,
)
from coordinator.registry.roll import Roll
from coordinator.store.jobs import Jobs, Party, Wanted
from coordinator.store.objects import DIGEST_BYTES, Objects
from protos.identity import Role
from protos.manifest import Signer
from protos.signatures import Distrusted, counted, verify_review, verify_vendor
from protos.training import TrainingPlan
from protos.v1.federation_pb2 import SubmitJobRequest
from protos.v1.job_pb2 import Decision, JobDecision, JobOffer, JobTerms, Review, Withdrawal

RULE_LENGTH = 64
SEES_EVERY_JOB = frozenset({Role.OPERATOR, Role.REVIEWER, Role.AUDITOR})
HOSPITALS_SAY = frozenset(Decision.values()) - {Decision.DECISION_UNSPECIFIED}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the coordinator's settings say about every job."""

    bundle_bytes: int
    reviews: int
    terms_days: float
    quorum: int
    round_seconds: float


class JobDesk:
    def __init__(
        self,
        jobs: Jobs,
        objects: Objects,
        audit: AuditTrail,
        deliver: Deliver,
        changed: Callable[[str], None],
        clock: Clock,
        terms: Terms,
        roll: Roll,
    ) -> None:
        self._jobs = jobs
        self._objects = objects
        self._audit = audit
        self._deliver = deliver
        self._changed = changed  # told each job whose decisions changed, or that was stopped
        self._clock = clock
        self._terms = terms
        self._roll = roll

    async def submit(self, request: SubmitJobRequest, sites: frozenset[str], by: Caller) -> str:
        """Check an uploaded bundle and offer it; what is refused here never reaches a hospital."""
        if not sites:
            raise InvalidRequest("no hospital is active: there is nobody to offer the job to")
        opened = await asyncio.to_thread(self._open, request)
        record = self._record(request, opened, sites, by)
        if self._terms.reviews:
            self._vendor(_offer(record))
        await self._jobs.add(record, sites)
        await self._audit.record(
            "job_submitted", job=record.job_id, bundle=record.bundle_digest.hex(),
            vendor=record.vendor_key.hex(), by=record.submitted_by, sites=len(sites),
        )  # fmt: skip
        if record.stage is JobStage.OFFERED:
            for site in sites:
                self._deliver(site, _offer(record))
        return record.job_id

    async def review(self, job_id: str, review: Review, by: Caller) -> tuple[int, int]:
        """Take a reviewer's signature; return how many count, and how many are needed.

        Hospitals check each again: here it spares them what they would refuse.
        """
        record = await self.visible(job_id, by)
        offer, now = _offer(record), self._now()
        vendor = self._vendor(offer)
        try:
            person = verify_review(offer, review, self._roll.manifest, vendor, now)
        except Distrusted as fault:
            await self._audit.record(
                "review_refused", job=job_id, by=by.identity.uri, reason=str(fault.why)
            )
            raise Refused(f"this review does not count: {fault}") from fault
        await self._jobs.review(job_id, review.public_key, review.signature, self._clock())
        await self._audit.record("job_reviewed", job=job_id, by=person.name)
        count = counted(
            verify_review(offer, each, self._roll.manifest, vendor, now)
            for each in await self._jobs.reviews(job_id)
        )
        if count >= self._terms.reviews and await self._jobs.offer(job_id, self._clock()):
            await self._audit.record("job_offered", job=job_id)
            whole = await self.offer(record)
            for part in await self._jobs.sites(job_id):
                self._deliver(part.site, whole)
        return count, self._terms.reviews

    async def offer(self, record: JobRecord) -> JobOffer:
        """Return what is put before hospitals, with every signature."""
        whole = _offer(record)
        whole.reviews.extend(await self._jobs.reviews(record.job_id))
        return whole

    async def take_decision(self, site: str, decision: JobDecision) -> None:
        """Store a hospital's word; one on a job it was not offered is audited, without effect."""
        said = decision.decision
        known = said in HOSPITALS_SAY and await self._jobs.decide(
            decision.job_id, site, said, decision.rule[:RULE_LENGTH], self._clock()
        )
        name = Decision.Name(said) if said in Decision.values() else str(said)
        event = "job_decided" if known else "decision_refused"
        await self._audit.record(event, site=site, job=decision.job_id[:64], decision=name)
        if known:
            self._changed(decision.job_id)

    async def outstanding(self, site: str) -> Sequence[Offer]:
        offers = [await self.offer(record) for record in await self._jobs.offers(site)]
        ended = await self._jobs.ended(site)
        return [*offers, *(Withdrawal(job_id=record.job_id) for record in ended)]

    async def stop(self, job_id: str, by: Caller) -> None:
        record = await self.visible(job_id, by)
        reason = f"stopped by {by.identity.name}"
        if await self._jobs.end(record.job_id, JobStage.STOPPED, reason):
            await self._audit.record("job_stopped", job=job_id, by=by.identity.uri)
            for part in await self._jobs.sites(job_id):
                self._deliver(part.site, Withdrawal(job_id=job_id))
            self._changed(job_id)

    async def visible(self, job_id: str, by: Caller) -> JobRecord:
        """Return a job the caller may see: an operator every one, a vendor its organisation's."""
        record = await self._jobs.get(job_id)
        if record is not None and not _may_see(record, by):
            await self._audit.record("job_hidden", job=record.job_id, caller=by.identity.uri)
            record = None
        if record is None:
            raise NotFound("there is no job of this name: see `radfed job ls`")
        return record

    async def visible_to(self, by: Caller) -> list[JobRecord]:
        return [record for record in await self._jobs.all() if _may_see(record, by)]

    async def page(self, wanted: Wanted, by: Caller, at_most: int) -> list[JobRecord]:
        return await self._jobs.page(wanted, _party(by), at_most)

    async def by_stage(self, by: Caller) -> Mapping[str, int]:
        return await self._jobs.by_stage(_party(by))

    async def approved_before(self, record: JobRecord, by: Caller) -> JobRecord | None:
        """Return the last approved bundle of the same name, where the caller may see it."""
        found = await self._jobs.approved_before(record)
        return found if found is not None and _may_see(found, by) else None

    async def reviewed(self, record: JobRecord) -> tuple[JobOffer, Reviews]:
        """Return what is put before hospitals, who signed it, and whose word is missing."""
        whole = await self.offer(record)
        needed = self._terms.reviews
        return whole, read_reviews(whole, self._roll.manifest, needed, self._now())

    async def all(self) -> list[JobRecord]:
        return await self._jobs.all()

    async def sites(self, job_id: str) -> list[JobSiteRecord]:
        return await self._jobs.sites(job_id)

    def _vendor(self, offer: JobOffer) -> Signer:
        """Return who made it; refuse here what every hospital would refuse."""
        now, manifest = self._now(), self._roll.manifest
        try:
            vendor = verify_vendor(offer, manifest, now)
        except Distrusted as fault:
            raise Refused(
                f"hospitals would refuse this job: {fault}; the federation's authority signs the "
                "manifest of vendors, reviewers and projects"
            ) from fault
        assert manifest is not None
        project = manifest.project(offer.terms.project)
        if project is None or project.expires <= now.timestamp():
            raise Refused("this job names no project that runs: see `radfed project ls`")
        if vendor.organisation not in project.organisations:
            raise Refused(f"{vendor.organisation} is not in the project {project.name}")
        return vendor

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _open(self, request: SubmitJobRequest) -> Opened:
        size = self._objects.size(_digest(request.bundle_digest))
        if size is None:
            raise NotFound("the bundle was not uploaded")
        if size > self._terms.bundle_bytes:
            raise TooLarge(f"a bundle has at most {self._terms.bundle_bytes} bytes")
        raw = b"".join(self._objects.chunks(request.bundle_digest))
        opened = open_bundle(
            raw, request.bundle_digest, request.vendor_key, request.vendor_signature
        )
        if request.initial_weights_digest:
            if self._objects.size(_digest(request.initial_weights_digest)) is None:
                raise NotFound("the weights were not uploaded")
            given = b"".join(self._objects.chunks(request.initial_weights_digest))
            opened = opened.starting_from(given)
        self._objects.add(opened.weights)
        return opened

    def _record(
        self, request: SubmitJobRequest, opened: Opened, sites: frozenset[str], by: Caller
    ) -> JobRecord:
        now, plan = self._clock(), opened.plan
        terms = JobTerms(
            project=request.project,
            rounds=opened.rounds,
            weights_digest=opened.weights_digest,
            sites=sorted(sites),
        )
        terms.expires_at.FromSeconds(int(now + self._terms.terms_days * 86400))
        reviewed = self._terms.reviews == 0
        return JobRecord(
            job_id=uuid4().hex,
            name=opened.name,
            kind=opened.kind,
            stage=JobStage.OFFERED if reviewed else JobStage.IN_REVIEW,
            rounds=opened.rounds,
            round=0,
            bundle_digest=request.bundle_digest,
            bundle_size=opened.size,
            vendor_key=request.vendor_key,
            vendor_signature=request.vendor_signature,
            weights_digest=opened.weights_digest,
            weights_size=len(opened.weights),
            quorum=_quorum(plan, self._terms.quorum, len(sites)),
            round_seconds=plan.round_seconds or self._terms.round_seconds,
            submitted_by=by.identity.uri,
            submitted_at=now,
            terms=terms.SerializeToString(deterministic=True),
            offered_at=now if reviewed else None,
            organisation=by.organisation,
            plan=plan.to_text(),
        )


def _offer(record: JobRecord) -> JobOffer:
    return JobOffer(
        job_id=record.job_id,
        bundle_digest=record.bundle_digest,
        bundle_size=record.bundle_size,
        vendor_key=record.vendor_key,
        vendor_signature=record.vendor_signature,
        kind=record.kind,  # type: ignore[arg-type]  # stored as the enum's number
        rounds=record.rounds,
        terms=JobTerms.FromString(record.terms),
    )


def _quorum(plan: TrainingPlan, at_least: int, sites: int) -> int:
    """Return how few updates a round may end with: the job's number, or the coordinator's."""
    if plan.quorum > sites:
        raise InvalidRequest(f"the job asks for a quorum of {plan.quorum}: it is for {sites} sites")
    quorum = max(plan.quorum, min(at_least, sites))
    for field in ("sites_per_round", "enough"):
        if 0 < getattr(plan, field) < quorum:
            raise InvalidRequest(
                f"`{field}` in `job.toml` is under {quorum}: with fewer updates no round ends here"
            )
    return quorum


def _may_see(record: JobRecord, by: Caller) -> bool:
    """Keep organisations apart; a certificate without one sees what it submitted itself."""
    if by.identity.role in SEES_EVERY_JOB or record.submitted_by == by.identity.uri:
        return True
    return bool(by.organisation) and record.organisation == by.organisation


def _party(by: Caller) -> Party | None:
    """Return whose jobs somebody sees, by the same rule as `_may_see`; None: everybody's."""
    if by.identity.role in SEES_EVERY_JOB:
        return None
    return Party(by.identity.uri, by.organisation)


def _digest(digest: bytes) -> bytes:
    if len(digest) != DIGEST_BYTES:
        raise InvalidRequest("an object is named by the 32 bytes of its SHA-256")
    return digest
