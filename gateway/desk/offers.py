"""Offers: fetched, verified against signature, digest and policy, then put to a person."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.audit import AuditTrail
from gateway.cohort.rules import NotSupported, conditions
from gateway.desk import reports
from gateway.desk.book import Book, JobRow, UnknownJob
from gateway.desk.objects import Objects, Wanted
from gateway.desk.rules import (
    JobStage,
    Refusal,
    judge_manifest,
    judge_offer,
    moment,
    standing_approval,
    update_bits,
)
from gateway.desk.signers import Signers
from gateway.policy import Policy
from gateway.release.rules import identifies_work
from protos import bundle, job_manifest
from protos.v1 import job_pb2

DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Approval:
    """One job as the steward sees it."""

    job_id: str
    stage: str
    vendor: str
    project: str
    reviewers: int
    bundle_digest: str
    name: str
    kind: str
    purpose: str
    cohort: tuple[str, ...]
    label: str
    test_set: str  # the locked set it would look at; empty for a job without a protocol
    rounds: int
    summed: bool  # its updates and counts leave in secure sums
    clip: float
    sigma: float
    leakage_bits_per_round: float  # negative: no leakage bound
    rule: str
    approved_by: str
    reason: str
    taken_at: str
    decided_at: str | None


class Offers:
    def __init__(
        self,
        book: Book,
        objects: Objects,
        policy: Callable[[], Policy],
        audit: AuditTrail,
        signers: Signers,
        can_run: Callable[[], bool] = lambda: True,
        lacks: Callable[[job_manifest.JobManifest], Refusal | None] = lambda _: None,
    ) -> None:
        self._book = book
        self._objects = objects
        self._policy = policy
        self._audit = audit
        self._signers = signers
        self._can_run = can_run
        self._lacks = lacks

    def take(self, offer: job_pb2.JobOffer) -> None:
        """Remember an offer; one that was taken before is answered as before."""
        sound = (
            identifies_work(offer.job_id)
            and len(offer.bundle_digest) == DIGEST_BYTES
            and moment(offer.terms.expires_at)
        )
        if not sound:
            self._audit.record("offer_malformed")
            return
        vendor = self._policy().jobs.vendor_of(offer.vendor_key)
        name = vendor.name if vendor else ""
        if not self._book.take_job(offer.job_id, offer.SerializeToString(), name):
            self._book.repeat("decision", offer.job_id)
            return
        self._audit.record("offer_taken", job=offer.job_id, bundle=offer.bundle_digest.hex())
        refusal = judge_offer(offer, self._policy().jobs) or self._signers.judge(offer)
        if refusal is None and not self._can_run():
            refusal = Refusal("sandbox_unavailable")
        if refusal is not None:
            self._refuse(offer.job_id, refusal)

    def wanted(self) -> list[Wanted]:
        """Return the bundles still to be fetched."""
        return [
            Wanted(offer.bundle_digest, offer.bundle_size)
            for offer in map(offer_of, self._book.jobs_at(JobStage.OFFERED))
            if not self._objects.has(offer.bundle_digest)
        ]

    def work(self) -> None:
        """Verify every bundle that has arrived."""
        for row in self._book.jobs_at(JobStage.OFFERED):
            offer = offer_of(row)
            if self._objects.has(offer.bundle_digest):
                self._verify(row.job_id, offer)

    def approvals(self) -> list[Approval]:
        return [self._approval(row) for row in self._book.jobs()]

    def approval(self, job_id: str) -> Approval:
        return self._approval(self._row(job_id))

    def code(self, job_id: str) -> dict[str, bytes]:
        """Return the bundle's files, for a reviewer's eyes; empty until it has been fetched."""
        offer = offer_of(self._row(job_id))
        if not self._objects.has(offer.bundle_digest):
            return {}
        return bundle.read(self._objects.read(offer.bundle_digest))

    def manifest(self, job_id: str) -> job_manifest.JobManifest | None:
        """Return what a verified bundle asks for; None until it has been fetched."""
        offer = offer_of(self._row(job_id))
        if not self._objects.has(offer.bundle_digest):
            return None
        found = self._open(offer)
        return None if isinstance(found, Refusal) else found

    def approved_before(self, job_id: str) -> str | None:
        """Return the latest job of the same vendor and name that this hospital had approved."""
        row, manifest = self._row(job_id), self.manifest(job_id)
        if manifest is None:
            return None
        earlier = [
            other.job_id
            for other in self._book.jobs()
            if other.job_id != job_id
            and other.vendor == row.vendor
            and other.approved_by != ""
            and other.stage in (JobStage.APPROVED, JobStage.WITHDRAWN)
            and (known := self.manifest(other.job_id)) is not None
            and known.name == manifest.name
        ]
        return earlier[-1] if earlier else None

    def approve(self, job_id: str, by: str) -> None:
        report = reports.of_decision(job_id, job_pb2.DECISION_APPROVED, by=by)
        self._book.decide(job_id, JobStage.APPROVED, report, by=by)
        digest = offer_of(self._row(job_id)).bundle_digest.hex()
        self._audit.record("job_approved", job=job_id, by=by, bundle=digest)

    def reject(self, job_id: str, by: str, reason: str) -> None:
        """Reject for good; the reason stays in the hospital."""
        rule = "steward_rejected"
        report = reports.of_decision(job_id, job_pb2.DECISION_REJECTED, rule, by)
        self._book.decide(job_id, JobStage.REJECTED, report, rule, by, reason)
        self._audit.record("job_rejected", job=job_id, by=by, reason=reason)

    def withdraw(self, job_id: str) -> None:
        """End a job at the coordinator's wish: final."""
        row = self._book.job(job_id)
        if row is not None and row.stage is not JobStage.WITHDRAWN:
            self._book.decide(job_id, JobStage.WITHDRAWN, by=row.approved_by, rule="withdrawn")
            self._audit.record("job_withdrawn", job=job_id)

    def _verify(self, job_id: str, offer: job_pb2.JobOffer) -> None:
        jobs = self._policy().jobs
        refused = judge_offer(offer, jobs) or self._signers.judge(offer)
        found = refused or self._open(offer)
        if isinstance(found, Refusal):
            self._refuse(job_id, found)
            return
        refusal = judge_manifest(found, offer, jobs) or self._lacks(found)
        if refusal is None and isinstance(
            asked := conditions(job_manifest.predicates(found)), NotSupported
        ):
            refusal = Refusal(asked.rule)
        if refusal is not None:
            self._refuse(job_id, refusal)
        elif (rule := standing_approval(found, offer, jobs)) is not None:
            self.approve(job_id, rule)
        else:
            self._book.decide(job_id, JobStage.WAITING)
            self._audit.record("job_waits_for_approval", job=job_id)

    def _open(self, offer: job_pb2.JobOffer) -> job_manifest.JobManifest | Refusal:
        """Check signature and content; the digest was checked as the bundle arrived."""
        try:
            bundle.verify(offer.bundle_digest, offer.vendor_key, offer.vendor_signature)
            return bundle.manifest_of(self._objects.read(offer.bundle_digest))
        except bundle.ForgedBundle:
            return Refusal("bad_signature")
        except job_manifest.BundleFault:
            return Refusal("bad_manifest")

    def _refuse(self, job_id: str, refusal: Refusal) -> None:
        report = reports.of_decision(job_id, job_pb2.DECISION_REFUSED, refusal.rule)
        self._book.decide(job_id, JobStage.REFUSED, report, refusal.rule, "policy")
        self._audit.record("job_refused", job=job_id, rule=refusal.rule)

    def _row(self, job_id: str) -> JobRow:
        row = self._book.job(job_id)
        if row is None:
            raise UnknownJob(job_id)
        return row

    def _approval(self, row: JobRow) -> Approval:
        offer = offer_of(row)
        manifest = None
        if self._objects.has(offer.bundle_digest):
            found = self._open(offer)
            manifest = None if isinstance(found, Refusal) else found
        return Approval(
            job_id=row.job_id,
            stage=row.stage,
            vendor=row.vendor,
            project=offer.terms.project,
            reviewers=len(offer.reviews),
            bundle_digest=offer.bundle_digest.hex(),
            name=manifest.name if manifest else "",
            kind=manifest.kind if manifest else "",
            purpose=manifest.purpose if manifest else "",
            cohort=_sentences(manifest),
            label=manifest.label if manifest else "",
            test_set=manifest.protocol.test_set if manifest and manifest.protocol else "",
            rounds=manifest.rounds if manifest else offer.rounds,
            summed=manifest.is_summed if manifest else False,
            clip=manifest.clip if manifest else 0.0,
            sigma=manifest.sigma if manifest else 0.0,
            leakage_bits_per_round=update_bits(manifest) if manifest else 0.0,
            rule=row.rule,
            approved_by=row.approved_by,
            reason=row.reason,
            taken_at=row.taken_at,
            decided_at=row.decided_at,
        )


def _sentences(manifest: job_manifest.JobManifest | None) -> tuple[str, ...]:
    if manifest is None:
        return ()
    return tuple(f"{c.field} {c.operator} {', '.join(c.values)}" for c in manifest.cohort)


def offer_of(row: JobRow) -> job_pb2.JobOffer:
    return job_pb2.JobOffer.FromString(row.offer)
